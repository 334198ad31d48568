// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/weight_uploader.h"

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/current_device.h"
#include "kernels/convert.h"
#include "kernels/copy_fp8.h"
#include "kernels/copy_table.h"

#include <algorithm>

namespace indexcache::cuda {
namespace {

// Ahead of the kernels of the backend's stream, whose blocks would keep conversions waiting.
Stream make_urgent_stream() {
  int least = 0, greatest = 0;
  INDEXCACHE_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStream_t stream = nullptr;
  INDEXCACHE_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, greatest));
  return Stream(stream);
}

// Bytes of the blob from the beginning of the first copy to the end of the last.
std::int64_t span_of(const StoredMatrix& first, const StoredMatrix& last) {
  return last.end() - first.begin();
}

}  // namespace

CudaWeightUploader::CudaWeightUploader(DeviceMemory& memory, std::int64_t slot_bytes)
    : memory_(memory),
      device_(make_current(memory.device())),
      copies_(make_urgent_stream()),
      conversions_(make_urgent_stream()),
      not_finite_(memory.allocate(sizeof(int), Memory::weights)) {
  for (Slot& slot : slots_) {
    slot.copied = make_event();
    slot.converted = make_event();
  }
  grow(slot_bytes);
}

CudaWeightUploader::~CudaWeightUploader() {
  try_make_current(device_);
  static_cast<void>(cudaStreamSynchronize(copies_.get()));
  static_cast<void>(cudaStreamSynchronize(conversions_.get()));
}

// Freed memory is used again in the order of the backend's stream, whose queued work may still need
// it. The streams of the uploader wait for that work.
void CudaWeightUploader::grow(std::int64_t bytes) {
  INDEXCACHE_CUDA(cudaStreamSynchronize(copies_.get()));
  INDEXCACHE_CUDA(cudaStreamSynchronize(conversions_.get()));
  for (Slot& slot : slots_) {
    slot.data.reset();
    slot.data = memory_.allocate(static_cast<std::size_t>(bytes), Memory::weights);
  }
  memory_.make_usable(copies_.get());
  memory_.make_usable(conversions_.get());
  slot_bytes_ = bytes;
}

void CudaWeightUploader::begin(const std::shared_ptr<void>& mark) {
  make_current(device_);
  const auto event = static_cast<cudaEvent_t>(mark.get());
  INDEXCACHE_CUDA(cudaStreamWaitEvent(copies_.get(), event));
  INDEXCACHE_CUDA(cudaStreamWaitEvent(conversions_.get(), event));
  INDEXCACHE_CUDA(cudaMemsetAsync(not_finite_.get(), 0, sizeof(int), conversions_.get()));
}

void CudaWeightUploader::load(const std::byte* blob, std::span<const WeightCopy> copies) {
  make_current(device_);
  while (!copies.empty()) {
    std::size_t count = 1;
    while (count < copies.size() &&
           span_of(copies.front().from, copies[count].from) <= slot_bytes_) {
      ++count;
    }
    transfer(blob, copies.first(count));
    copies = copies.subspan(count);
  }
}

// One transfer of consecutive bytes, then one conversion per matrix.
void CudaWeightUploader::transfer(const std::byte* blob, std::span<const WeightCopy> batch) {
  const std::int64_t begin = batch.front().from.begin();
  const std::int64_t bytes = span_of(batch.front().from, batch.back().from);
  if (bytes > slot_bytes_) grow(bytes);
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % slots_.size();
  auto* staged = static_cast<std::byte*>(slot.data.get());
  INDEXCACHE_CUDA(cudaStreamWaitEvent(copies_.get(), slot.converted.get()));
  INDEXCACHE_CUDA(cudaMemcpyAsync(staged, blob + begin, static_cast<std::size_t>(bytes),
                                  cudaMemcpyHostToDevice, copies_.get()));
  INDEXCACHE_CUDA(cudaEventRecord(slot.copied.get(), copies_.get()));
  INDEXCACHE_CUDA(cudaStreamWaitEvent(conversions_.get(), slot.copied.get()));
  for (const WeightCopy& copy : batch) {
    WeightCopy here = copy;
    here.from.at -= begin;
    if (here.from.scales_at >= 0) here.from.scales_at -= begin;
    if (copy.out.dtype() == DType::f8_e4m3) {
      keep(staged, here);
    } else if (copy.out.dtype() == DType::i32) {
      copy_table(staged, here);
    } else {
      convert(staged, here);
    }
  }
  INDEXCACHE_CUDA(cudaEventRecord(slot.converted.get(), conversions_.get()));
}

void CudaWeightUploader::convert(const std::byte* part, const WeightCopy& copy) {
  const StoredMatrix& from = copy.from;
  const std::byte* scales = from.scales_at < 0 ? nullptr : part + from.scales_at;
  INDEXCACHE_CUDA(kernels::convert({.x = part + from.at,
                                    .x_type = kernel_type(from.dtype),
                                    .scales = scales,
                                    .scales_type = kernel_type(from.scales_dtype),
                                    .block_rows = from.block_rows,
                                    .block_cols = from.block_cols,
                                    .out = copy.out.data<void>(),
                                    .out_type = kernel_type(copy.out.dtype()),
                                    .rows = from.rows,
                                    .cols = from.cols,
                                    .head_rows = copy.heads.rows,
                                    .first = copy.heads.first,
                                    .count = copy.heads.count,
                                    .transposed = copy.heads.transposed,
                                    .not_finite = static_cast<int*>(not_finite_.get())},
                                   conversions_.get()));
}

// FP8 that stays FP8: its numbers, and its scales as a matrix by themselves.
void CudaWeightUploader::keep(const std::byte* part, const WeightCopy& copy) {
  const StoredMatrix& from = copy.from;
  INDEXCACHE_CUDA(kernels::copy_fp8({.x = part + from.at,
                                     .out = copy.out.data<void>(),
                                     .count = from.rows * from.cols,
                                     .not_finite = static_cast<int*>(not_finite_.get())},
                                    conversions_.get()));
  const Tensor scales = copy.out.scales();
  const StoredMatrix stored{.dtype = from.scales_dtype,
                            .rows = scales.rows(),
                            .cols = scales.cols(),
                            .at = from.scales_at};
  convert(part, {stored, {stored.rows, 0, stored.rows, false}, scales});
}

void CudaWeightUploader::copy_table(const std::byte* part, const WeightCopy& copy) {
  INDEXCACHE_CUDA(
      kernels::copy_table({.x = reinterpret_cast<const std::int64_t*>(part + copy.from.at),
                           .out = copy.out.data<std::int32_t>(),
                           .count = copy.from.rows * copy.from.cols,
                           .limit = copy.limit,
                           .out_of_range = static_cast<int*>(not_finite_.get())},
                          conversions_.get()));
}

bool CudaWeightUploader::finish() {
  make_current(device_);
  auto* flag = static_cast<int*>(flag_.reserve(sizeof(int)));
  INDEXCACHE_CUDA(cudaMemcpyAsync(flag, not_finite_.get(), sizeof(int), cudaMemcpyDeviceToHost,
                                  conversions_.get()));
  INDEXCACHE_CUDA(cudaStreamSynchronize(conversions_.get()));
  return *flag == 0;
}

}  // namespace indexcache::cuda
