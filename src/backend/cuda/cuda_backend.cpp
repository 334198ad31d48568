// SPDX-License-Identifier: Apache-2.0
// A backend from its making to its end, and what its operations need of a device.
#include "backend/cuda/cuda_backend.h"

#include "backend/cuda/shape_check.h"
#include "backend/device_spec.h"
#include "backend/gpu_scratch.h"
#include "core/error.h"
#include "kernels/architecture.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

// Zero if there is no GPU or no driver; `reason` says which.
int visible_devices(std::string& reason) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  cudaGetLastError();  // clears it
  reason = status == cudaSuccess ? "no GPU is visible" : cudaGetErrorString(status);
  return 0;
}

void require_hopper(const CudaOptions& options) {
  const int device = cuda::make_current(options.device);
  if (kernels::has_warpgroups()) return;
  cudaDeviceProp properties{};
  INDEXCACHE_CUDA(cudaGetDeviceProperties(&properties, device));
  throw ResourceError(
      {"FP8 products need a Hopper GPU", "--precision fp8",
       fmt::format("{} has compute capability {}.{}; this build has code for {}", properties.name,
                   properties.major, properties.minor, INDEXCACHE_CUDA_ARCHITECTURES),
       "--precision bf16, or an H100 or H200 and a build for sm_90a"});
}

}  // namespace

bool cuda_is_usable(std::string& reason, int device) {
  const int count = visible_devices(reason);
  if (count == 0) return false;
  if (device < 0 || device >= count) {
    reason = count == 1 ? "one GPU is visible, cuda:0"
                        : fmt::format("{} GPUs are visible, cuda:0 to cuda:{}", count, count - 1);
    return false;
  }
  cuda::make_current(device);
  if (kernels::runs_here()) return true;
  cudaDeviceProp properties{};
  INDEXCACHE_CUDA(cudaGetDeviceProperties(&properties, device));
  reason =
      fmt::format("{} has compute capability {}.{}; this build has code for {}", properties.name,
                  properties.major, properties.minor, INDEXCACHE_CUDA_ARCHITECTURES);
  return false;
}

int cuda_device_count() {
  std::string reason;
  return visible_devices(reason);
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  std::string reason;
  if (!cuda_is_usable(reason, options.device)) {
    throw ResourceError({"no usable GPU",
                         "--device " + name_of(DeviceSpec{DeviceSpec::Kind::cuda, options.device}),
                         reason,
                         "--device cpu, another GPU (CUDA_VISIBLE_DEVICES may hide some), or a "
                         "build with -DCMAKE_CUDA_ARCHITECTURES for this GPU"});
  }
  if (options.compute == Precision::fp8) require_hopper(options);
  return std::make_unique<CudaBackend>(options);
}

CudaBackend::CudaBackend(const CudaOptions& options)
    : CudaDevice(options),
      forked_(cuda::make_event()),
      layouts_(memory_, stream_.get()),
      gemm_(memory_),
      tables_(memory_, stream_.get()) {
  for (std::size_t side = 0; side < side_streams_.size(); ++side) {
    side_streams_[side] = cuda::make_stream();
    side_done_[side] = cuda::make_event();
  }
}

CudaBackend::~CudaBackend() {
  settle();
}

void CudaBackend::check(const ModelShape& shape) const {
  cuda::check_shape(shape, options_.indexer);
}

std::int64_t CudaBackend::scratch_bytes(const ModelShape& shape, std::int64_t, std::int64_t) const {
  return kProductStreams * kProductWorkspaceBytes + table_bytes(shape);
}

std::int64_t CudaBackend::logits_bytes(const ModelShape& shape, std::int64_t rows,
                                       std::int64_t longest) const {
  return std::max(gpu_logits_bytes(shape, rows, longest, logits_chunk()),
                  hisa_bytes(shape, rows, longest));
}

std::int64_t CudaBackend::linear_row_bytes(std::int64_t width) const {
  return gpu_linear_row_bytes(*this, width);
}

std::int64_t CudaBackend::mlp_row_bytes(std::int64_t hidden, std::int64_t middle) const {
  return gpu_mlp_row_bytes(*this, hidden, middle);
}

std::int64_t CudaBackend::attention_row_bytes(const ModelShape& shape) const {
  cuda::make_current(device_);
  return gpu_attention_row_bytes(*this, shape, kernels::has_warpgroups());
}

std::int64_t CudaBackend::expert_row_bytes(const ModelShape& shape) const {
  cuda::make_current(device_);
  return gpu_expert_row_bytes(*this, shape, kernels::has_warpgroups());
}

}  // namespace indexcache
