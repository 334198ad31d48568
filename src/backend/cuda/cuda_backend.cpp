// SPDX-License-Identifier: Apache-2.0
// Device, memory and transfers.
#include "backend/cuda/cuda_backend.h"

#include "core/error.h"
#include "kernels/architecture.h"
#include "kernels/convert.h"
#include "kernels/random.h"

#include <fmt/format.h>

#include <cstring>

namespace indexcache {
namespace {

constexpr std::int32_t kNone[] = {0};

// Left to the driver, other processes and the pool's rounding.
constexpr double kUsableShare = 0.92;

std::int64_t usable_bytes() {
  std::size_t free = 0, total = 0;
  INDEXCACHE_CUDA(cudaMemGetInfo(&free, &total));
  return static_cast<std::int64_t>(static_cast<double>(free) * kUsableShare);
}

std::string current_device_name() {
  int device = 0;
  INDEXCACHE_CUDA(cudaGetDevice(&device));
  cudaDeviceProp properties{};
  INDEXCACHE_CUDA(cudaGetDeviceProperties(&properties, device));
  return properties.name;
}

}  // namespace

bool cuda_is_usable(std::string& reason) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    reason = status == cudaSuccess ? "no GPU is visible" : cudaGetErrorString(status);
    return false;
  }
  if (kernels::runs_here()) return true;
  cudaDeviceProp properties{};
  INDEXCACHE_CUDA(cudaGetDeviceProperties(&properties, 0));
  reason =
      fmt::format("{} has compute capability {}.{}; this build has code for {}", properties.name,
                  properties.major, properties.minor, INDEXCACHE_CUDA_ARCHITECTURES);
  return false;
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  std::string reason;
  if (!cuda_is_usable(reason)) {
    throw ResourceError({"no usable GPU", "--device cuda", reason,
                         "--device cpu, a machine with an NVIDIA GPU and its driver, or a build "
                         "with -DCMAKE_CUDA_ARCHITECTURES for this GPU"});
  }
  return std::make_unique<CudaBackend>(options);
}

CudaBackend::CudaBackend(const CudaOptions& options)
    : options_(options),
      device_name_(current_device_name()),
      memory_bytes_(usable_bytes()),
      stream_(cuda::make_stream()),
      forked_(cuda::make_event()),
      memory_(stream_.get()),
      layouts_(memory_, stream_.get()),
      gemm_(memory_),
      clock_(stream_.get()) {
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    lanes_[lane] = cuda::make_stream();
    lane_done_[lane] = cuda::make_event();
  }
}

// Memory goes back in the stream's order, so the stream must outlive the tensors' release.
CudaBackend::~CudaBackend() {
  static_cast<void>(cudaStreamSynchronize(stream_.get()));
}

std::string CudaBackend::name() const {
  return fmt::format("cuda {} {} indexer {}", device_name_, name_of(options_.compute),
                     name_of(options_.indexer));
}

DType CudaBackend::activation() const {
  return options_.compute == Precision::bf16 ? DType::bf16 : DType::f32;
}

DType CudaBackend::index_activation() const {
  return options_.indexer == Precision::fp32 ? DType::f32 : activation();
}

std::int64_t CudaBackend::scratch_bytes() const {
  return cuda::kLogitsBytes + cuda::Gemm::kLanes * cuda::Gemm::kWorkspaceBytes;
}

double CudaBackend::measure(const std::function<void()>& body) {
  const cuda::Event begin = cuda::make_event(cudaEventDefault);
  const cuda::Event end = cuda::make_event(cudaEventDefault);
  INDEXCACHE_CUDA(cudaStreamSynchronize(stream_.get()));
  INDEXCACHE_CUDA(cudaEventRecord(begin.get(), stream_.get()));
  body();
  INDEXCACHE_CUDA(cudaEventRecord(end.get(), stream_.get()));
  INDEXCACHE_CUDA(cudaEventSynchronize(end.get()));
  float milliseconds = 0;
  INDEXCACHE_CUDA(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()));
  return static_cast<double>(milliseconds) * 1e-3;
}

Tensor CudaBackend::allocate(std::int64_t rows, std::int64_t cols, DType dtype, Memory kind) {
  const auto bytes = static_cast<std::size_t>(rows * cols) * size_of(dtype);
  return {memory_.allocate(bytes, kind), rows, cols, dtype};
}

Tensor CudaBackend::upload_raw(const void* values, std::int64_t rows, std::int64_t cols,
                               DType dtype, Memory kind) {
  Tensor tensor = allocate(rows, cols, dtype, kind);
  const auto bytes = static_cast<std::size_t>(rows * cols) * size_of(dtype);
  if (bytes == 0) return tensor;
  // From pageable memory: the call returns when the values have left it.
  INDEXCACHE_CUDA(
      cudaMemcpyAsync(tensor.data<void>(), values, bytes, cudaMemcpyHostToDevice, stream_.get()));
  return tensor;
}

Tensor CudaBackend::upload(std::vector<float> values, std::int64_t rows, std::int64_t cols) {
  return upload_raw(values.data(), rows, cols, DType::f32, Memory::weights);
}

Tensor CudaBackend::upload_matrix(std::vector<float> values, std::int64_t rows, std::int64_t cols) {
  if (activation() == DType::f32) return upload(std::move(values), rows, cols);
  const Tensor whole = upload_raw(values.data(), rows, cols, DType::f32, Memory::workspace);
  Tensor rounded = allocate(rows, cols, activation(), Memory::weights);
  round(whole, rounded);
  return rounded;
}

void CudaBackend::round(const Tensor& x, const Tensor& out) {
  INDEXCACHE_CUDA(kernels::convert({.x = x.data<void>(),
                                    .x_type = kernels::Type::f32,
                                    .scales = nullptr,
                                    .block_rows = 0,
                                    .block_cols = 0,
                                    .out = out.data<void>(),
                                    .out_type = cuda::kernel_type(out.dtype()),
                                    .rows = out.rows(),
                                    .cols = out.cols(),
                                    .not_finite = nullptr},
                                   stream_.get()));
}

void CudaBackend::convert_stored(const StoredMatrix& stored, const Tensor& out) {
  if (not_finite_.empty()) not_finite_ = upload(std::span<const std::int32_t>(kNone), 1, 1);
  const Tensor raw =
      upload_raw(stored.bytes.data(), stored.rows, stored.cols, stored.dtype, Memory::workspace);
  Tensor scales;
  if (!stored.scales.empty()) {
    scales = upload_raw(stored.scales.data(), static_cast<std::int64_t>(stored.scales.size()), 1,
                        DType::f32, Memory::workspace);
  }
  INDEXCACHE_CUDA(kernels::convert({.x = raw.data<void>(),
                                    .x_type = cuda::stored_type(stored.dtype),
                                    .scales = scales.data<float>(),
                                    .block_rows = stored.block_rows,
                                    .block_cols = stored.block_cols,
                                    .out = out.data<void>(),
                                    .out_type = cuda::kernel_type(out.dtype()),
                                    .rows = stored.rows,
                                    .cols = stored.cols,
                                    .not_finite = not_finite_.data<int>()},
                                   stream_.get()));
}

bool CudaBackend::stored_are_finite() {
  if (not_finite_.empty()) return true;
  const bool finite = download_indices(not_finite_).front() == 0;
  not_finite_ = {};
  return finite;
}

Tensor CudaBackend::upload(std::span<const std::int32_t> values, std::int64_t rows,
                           std::int64_t cols) {
  return upload_raw(values.data(), rows, cols, DType::i32, Memory::workspace);
}

void CudaBackend::fill_random(const Tensor& tensor, float scale, float offset, std::uint64_t seed) {
  INDEXCACHE_CUDA(kernels::fill_random({.out = tensor.data<void>(),
                                        .type = cuda::kernel_type(tensor.dtype()),
                                        .elements = tensor.rows() * tensor.cols(),
                                        .scale = scale,
                                        .offset = offset,
                                        .seed = seed},
                                       stream_.get()));
}

void CudaBackend::download_raw(const Tensor& tensor, void* values) {
  const std::size_t element = size_of(tensor.dtype());
  const auto width = static_cast<std::size_t>(tensor.cols()) * element;
  if (tensor.rows() == 0 || width == 0) return;
  INDEXCACHE_CUDA(cudaMemcpy2DAsync(
      values, width, tensor.data<void>(), static_cast<std::size_t>(tensor.stride()) * element,
      width, static_cast<std::size_t>(tensor.rows()), cudaMemcpyDeviceToHost, stream_.get()));
  INDEXCACHE_CUDA(cudaStreamSynchronize(stream_.get()));
}

std::vector<float> CudaBackend::download(const Tensor& tensor) {
  const auto count = static_cast<std::size_t>(tensor.rows() * tensor.cols());
  std::vector<float> values(count);
  if (tensor.dtype() != DType::bf16) {
    download_raw(tensor, values.data());
    return values;
  }
  std::vector<std::uint16_t> bits(count);
  download_raw(tensor, bits.data());
  for (std::size_t i = 0; i < count; ++i) values[i] = bf16_to_float(bits[i]);
  return values;
}

std::vector<std::int32_t> CudaBackend::download_indices(const Tensor& tensor) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(tensor.rows() * tensor.cols()));
  download_raw(tensor, values.data());
  return values;
}

}  // namespace indexcache
