// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_device.h"

#include "backend/cuda/weight_uploader.h"
#include "backend/widen_fp8.h"
#include "core/bytes.h"
#include "core/error.h"
#include "kernels/architecture.h"
#include "kernels/convert.h"
#include "kernels/random.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace indexcache {
namespace {

// Left to the driver, other processes and the pool's rounding.
constexpr double kUsableShare = 0.92;

std::int64_t usable_bytes() {
  std::size_t free = 0, total = 0;
  INDEXCACHE_CUDA(cudaMemGetInfo(&free, &total));
  return static_cast<std::int64_t>(static_cast<double>(free) * kUsableShare);
}

cudaDeviceProp properties_of(int device) {
  cudaDeviceProp properties{};
  INDEXCACHE_CUDA(cudaGetDeviceProperties(&properties, device));
  return properties;
}

}  // namespace

CudaDevice::CudaDevice(const CudaOptions& options)
    : device_(cuda::make_current(options.device)),
      options_(options),
      device_name_(properties_of(device_).name),
      memory_bytes_(usable_bytes()),
      stream_(cuda::make_stream()),
      memory_(device_, stream_),
      timeline_(cuda::EventClock(stream_.get())) {}

CudaDevice::~CudaDevice() {
  settle();
}

void CudaDevice::settle() noexcept {
  cuda::try_make_current(device_);
  static_cast<void>(cudaStreamSynchronize(stream_.get()));
}

// The model of the GPU and not its index: runs continue on another GPU of the same kind.
std::string CudaDevice::name() const {
  return fmt::format("cuda {} {} indexer {}", device_name_, name_of(options_.compute),
                     name_of(options_.indexer));
}

std::string CudaDevice::remark() const {
  if (options_.compute == Precision::fp32) return "";  // no kernel of fp32 is tuned for a GPU
  cuda::make_current(device_);
  if (kernels::has_warpgroups()) return "";
  return fmt::format(
      "{}: indexer and attention run on general kernels; those tuned for Hopper (H100, H200) need "
      "such a GPU and a build for sm_90a",
      device_name_);
}

DType CudaDevice::activation() const {
  return options_.compute == Precision::fp32 ? DType::f32 : DType::bf16;
}

DType CudaDevice::index_activation() const {
  return options_.indexer == Precision::fp32 ? DType::f32 : activation();
}

std::int64_t CudaDevice::uploader_bytes() const {
  return kUploaderSlots * slot_bytes_;
}

void CudaDevice::limit_memory(std::int64_t bytes) {
  memory_bytes_ = std::min(memory_bytes_, bytes);
  slot_bytes_ = std::min(slot_bytes_, uploader_slot_bytes(bytes));
}

void CudaDevice::start_profile() {
  cuda::make_current(device_);
  timeline_.start();
}

ComponentProfile CudaDevice::take_profile() {
  cuda::make_current(device_);
  return timeline_.take();
}

double CudaDevice::measure(const std::function<void()>& body) {
  cuda::make_current(device_);
  const cuda::Event begin = cuda::make_event(cudaEventDefault);
  const cuda::Event end = cuda::make_event(cudaEventDefault);
  INDEXCACHE_CUDA(cudaStreamSynchronize(stream_.get()));
  INDEXCACHE_CUDA(cudaEventRecord(begin.get(), stream_.get()));
  body();
  cuda::make_current(device_);  // the body may use other devices
  INDEXCACHE_CUDA(cudaEventRecord(end.get(), stream_.get()));
  INDEXCACHE_CUDA(cudaEventSynchronize(end.get()));
  float milliseconds = 0;
  INDEXCACHE_CUDA(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()));
  return static_cast<double>(milliseconds) * 1e-3;
}

Tensor CudaDevice::allocate(std::int64_t rows, std::int64_t cols, DType dtype, Memory kind) {
  const auto bytes = static_cast<std::size_t>(rows * cols) * size_of(dtype);
  return {memory_.allocate(bytes, kind), rows, cols, dtype};
}

Tensor CudaDevice::upload_raw(const void* values, std::int64_t rows, std::int64_t cols, DType dtype,
                              Memory kind) {
  Tensor tensor = allocate(rows, cols, dtype, kind);
  const auto bytes = static_cast<std::size_t>(rows * cols) * size_of(dtype);
  if (bytes == 0) return tensor;
  // From pageable memory: the call returns after the values have been read.
  INDEXCACHE_CUDA(
      cudaMemcpyAsync(tensor.data<void>(), values, bytes, cudaMemcpyHostToDevice, stream_.get()));
  return tensor;
}

Tensor CudaDevice::upload(std::vector<float> values, std::int64_t rows, std::int64_t cols) {
  return upload_raw(values.data(), rows, cols, DType::f32, Memory::weights);
}

Tensor CudaDevice::upload_matrix(std::vector<float> values, std::int64_t rows, std::int64_t cols) {
  if (activation() == DType::f32) return upload(std::move(values), rows, cols);
  const Tensor whole = upload_raw(values.data(), rows, cols, DType::f32, Memory::workspace);
  Tensor rounded = allocate(rows, cols, activation(), Memory::weights);
  round(whole, rounded);
  return rounded;
}

void CudaDevice::round(const Tensor& x, const Tensor& out) {
  INDEXCACHE_CUDA(kernels::convert({.x = x.data<void>(),
                                    .x_type = kernels::Type::f32,
                                    .scales = nullptr,
                                    .block_rows = 0,
                                    .block_cols = 0,
                                    .out = out.data<void>(),
                                    .out_type = cuda::kernel_type(out.dtype()),
                                    .rows = out.rows(),
                                    .cols = out.cols(),
                                    .head_rows = out.rows(),
                                    .first = 0,
                                    .count = out.rows(),
                                    .transposed = false,
                                    .not_finite = nullptr},
                                   stream_.get()));
}

std::unique_ptr<WeightUploader> CudaDevice::make_weight_uploader() {
  return std::make_unique<cuda::CudaWeightUploader>(memory_, slot_bytes_);
}

// Pinned, because the device reads only pinned memory at the speed of its link.
std::shared_ptr<std::byte> CudaDevice::allocate_host(std::int64_t bytes) {
  cuda::make_current(device_);
  void* memory = nullptr;
  const cudaError_t status =
      cudaMallocHost(&memory, static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1)));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // clears it
    throw ResourceError({"out of host memory", "pinned memory for weights",
                         fmt::format("the request was for {:.2f} GiB", gib(bytes)),
                         "--weights disk (keeps only two layers in memory)"});
  }
  INDEXCACHE_CUDA(status);
  return {static_cast<std::byte*>(memory), [device = device_](std::byte* host) {
            cuda::try_make_current(device);
            static_cast<void>(cudaFreeHost(host));
          }};
}

std::shared_ptr<void> CudaDevice::mark() {
  cuda::make_current(device_);
  cuda::Event event = cuda::make_event();
  INDEXCACHE_CUDA(cudaEventRecord(event.get(), stream_.get()));
  return {event.release(), [device = device_](void* mark) {
            cuda::try_make_current(device);
            static_cast<void>(cudaEventDestroy(static_cast<cudaEvent_t>(mark)));
          }};
}

Tensor CudaDevice::upload(std::span<const std::int32_t> values, std::int64_t rows,
                          std::int64_t cols) {
  return upload_raw(values.data(), rows, cols, DType::i32, Memory::workspace);
}

void CudaDevice::fill_random(const Tensor& tensor, float scale, float offset, std::uint64_t seed) {
  cuda::make_current(device_);
  INDEXCACHE_CUDA(kernels::fill_random({.out = tensor.data<void>(),
                                        .type = cuda::kernel_type(tensor.dtype()),
                                        .elements = tensor.rows() * tensor.cols(),
                                        .scale = scale,
                                        .offset = offset,
                                        .seed = seed},
                                       stream_.get()));
}

void CudaDevice::download_raw(const Tensor& tensor, void* values) {
  const std::size_t element = size_of(tensor.dtype());
  const auto width = static_cast<std::size_t>(tensor.cols()) * element;
  if (tensor.rows() == 0 || width == 0) return;
  cuda::make_current(device_);
  INDEXCACHE_CUDA(cudaMemcpy2DAsync(
      values, width, tensor.data<void>(), static_cast<std::size_t>(tensor.stride()) * element,
      width, static_cast<std::size_t>(tensor.rows()), cudaMemcpyDeviceToHost, stream_.get()));
  INDEXCACHE_CUDA(cudaStreamSynchronize(stream_.get()));
}

std::vector<float> CudaDevice::download(const Tensor& tensor) {
  const auto count = static_cast<std::size_t>(tensor.rows() * tensor.cols());
  if (tensor.dtype() == DType::f8_e4m3) {
    std::vector<std::uint8_t> codes(count);
    download_raw(tensor, codes.data());
    const Tensor scales = tensor.scales();
    return widened_fp8(codes, tensor.cols(),
                       scales.empty() ? std::vector<float>() : download(scales));
  }
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

std::vector<std::int32_t> CudaDevice::download_indices(const Tensor& tensor) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(tensor.rows() * tensor.cols()));
  download_raw(tensor, values.data());
  return values;
}

}  // namespace indexcache
