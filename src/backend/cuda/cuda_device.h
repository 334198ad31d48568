// SPDX-License-Identifier: Apache-2.0
// One NVIDIA GPU: what Device asks for, and what the operations (cuda_backend.h) build on. All work
// is queued on one stream; the host waits where it needs a value.
#pragma once

#include "backend/backend.h"
#include "backend/component_timeline.h"
#include "backend/cuda/current_device.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/event_clock.h"
#include "backend/gpu_scratch.h"
#include "backend/make_cuda_backend.h"
#include "kernels/types.h"

#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

// The device half of CudaBackend.
class CudaDevice : public Backend {
 public:
  ~CudaDevice() override;

  std::string name() const override;
  std::string remark() const override;
  DType activation() const override;
  DType index_activation() const override;
  bool keeps_fp8() const override { return options_.compute == Precision::fp8; }
  bool is_gpu() const override { return true; }
  std::int64_t memory_bytes() const override { return memory_bytes_; }
  MemoryUse memory_use() const override { return memory_.use(); }
  void limit_memory(std::int64_t bytes) override;
  std::int64_t uploader_bytes() const override;

  Tensor upload_matrix(std::vector<float> values, std::int64_t rows, std::int64_t cols) override;
  std::shared_ptr<std::byte> allocate_host(std::int64_t bytes) override;
  std::shared_ptr<void> mark() override;

#include "backend/device_overrides.inc"

 protected:
  // Every operation begins with one: makes the device current on this thread and counts the time
  // of what is queued while it lives.
  class Operation {
   public:
    Operation(CudaDevice& device, Component component)
        : device_(cuda::make_current(device.device_)),
          scope_(device.timeline_, device.counted(component)) {}

   private:
    int device_;  // before scope_, whose events belong to the current device
    ComponentTimeline<cuda::EventClock>::Scope scope_;
  };

  explicit CudaDevice(const CudaOptions& options);

  Tensor upload_raw(const void* values, std::int64_t rows, std::int64_t cols, DType dtype,
                    Memory kind);
  void download_raw(const Tensor& tensor, void* values);
  // float32 without gaps to the type of `out`, of as many elements.
  void round(const Tensor& x, const Tensor& out);
  // Makes the device current and waits for it: members whose destruction follows need the device,
  // and no work that still uses them.
  void settle() noexcept;

  int device_;
  CudaOptions options_;

 private:
  std::string device_name_;
  std::int64_t memory_bytes_;                     // measured before the members below take any
  std::int64_t slot_bytes_ = kUploaderSlotBytes;  // of a slot of a WeightUploader

 protected:
  cuda::SharedStream stream_;
  cuda::DeviceMemory memory_;

 private:
  ComponentTimeline<cuda::EventClock> timeline_;
};

namespace cuda {

// The kernels' name of a type of activations, weights or scales.
inline kernels::Type kernel_type(DType type) {
  switch (type) {
    case DType::bf16:
      return kernels::Type::bf16;
    case DType::f16:
      return kernels::Type::f16;
    case DType::f8_e4m3:
      return kernels::Type::e4m3;
    case DType::f8_e8m0:
      return kernels::Type::e8m0;
    case DType::i8:
      return kernels::Type::e2m1;
    default:
      return kernels::Type::f32;
  }
}

}  // namespace cuda
}  // namespace indexcache
