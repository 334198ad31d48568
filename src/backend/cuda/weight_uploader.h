// SPDX-License-Identifier: Apache-2.0
// Moves stored weights to the GPU on streams of its own: while one batch is copied, the previous
// one is converted and the backend's stream computes.
#pragma once

#include "backend/cuda/device_memory.h"
#include "backend/cuda/handle.h"
#include "backend/gpu_scratch.h"
#include "backend/weight_uploader.h"

#include <array>

namespace indexcache::cuda {

class CudaWeightUploader : public WeightUploader {
 public:
  // Stages stored bytes in kUploaderSlots slots of `slot_bytes` each; a larger matrix makes them
  // grow. Works on the device of `memory`, on whatever thread it is called.
  CudaWeightUploader(DeviceMemory& memory, std::int64_t slot_bytes);
  ~CudaWeightUploader() override;

  void begin(const std::shared_ptr<void>& mark) override;
  void load(const std::byte* blob, std::span<const WeightCopy> copies) override;
  bool finish() override;

 private:
  struct Slot {
    std::shared_ptr<void> data;
    Event copied, converted;
  };

  void grow(std::int64_t bytes);
  void transfer(const std::byte* blob, std::span<const WeightCopy> batch);
  // From a part of a blob that is staged; offsets are those in the part.
  void convert(const std::byte* part, const WeightCopy& copy);
  void keep(const std::byte* part, const WeightCopy& copy);
  void copy_table(const std::byte* part, const WeightCopy& copy);

  DeviceMemory& memory_;
  int device_;
  Stream copies_, conversions_;
  std::array<Slot, kUploaderSlots> slots_;
  std::size_t next_ = 0;
  std::int64_t slot_bytes_ = 0;
  std::shared_ptr<void> not_finite_;  // an int on the device; set by numbers of tables, too
  PinnedBuffer flag_;
};

}  // namespace indexcache::cuda
