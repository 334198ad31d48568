// SPDX-License-Identifier: Apache-2.0
// The operations on one NVIDIA GPU: kernels/ and cuBLASLt behind Backend. All work is queued on
// one stream; the host waits where it needs a value (expert counts, losses, downloads).
#pragma once

#include "backend/cuda/component_clock.h"
#include "backend/cuda/device.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/device_rows.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda_device.h"
#include "kernels/types.h"

#include <array>
#include <string>
#include <vector>

namespace indexcache {

class CudaBackend : public Backend {
 public:
  // Device options.device, which must be usable (cuda_is_usable). Several backends may live in one
  // process, on different devices or on the same one; each plans with the memory that is free when
  // it is made, so those that share a device need limit_memory.
  explicit CudaBackend(const CudaOptions& options = {});
  ~CudaBackend() override;

  std::string name() const override;
  DType activation() const override;
  DType index_activation() const override;
  bool is_gpu() const override { return true; }
  std::int64_t memory_bytes() const override { return memory_bytes_; }
  MemoryUse memory_use() const override { return memory_.use(); }
  void limit_memory(std::int64_t bytes) override;
  void check(const ModelShape& shape) const override;
  std::int64_t scratch_bytes(const ModelShape& shape, std::int64_t rows,
                             std::int64_t longest) const override;
  std::int64_t uploader_bytes() const override;
  void start_profile() override { clock_.start(); }
  ComponentSeconds take_profile() override;

  Tensor upload_matrix(std::vector<float> values, std::int64_t rows, std::int64_t cols) override;
  std::shared_ptr<std::byte> allocate_host(std::int64_t bytes) override;
  std::shared_ptr<void> mark() override;

#include "backend/operation_overrides.inc"

 private:
  // Every operation begins with one: makes the device current on this thread and counts the time
  // of what is queued while it lives.
  class Operation {
   public:
    Operation(CudaBackend& backend, Component component)
        : device_(cuda::make_current(backend.device_)), scope_(backend.clock_, component) {}

   private:
    int device_;  // before scope_, whose events belong to the current device
    cuda::ComponentClock::Scope scope_;
  };

  // Rows of the indexer in the type that its logits are computed in, with scales for e4m3.
  struct IndexOperand {
    Tensor values;
    Tensor scales;
  };

  Tensor upload_raw(const void* values, std::int64_t rows, std::int64_t cols, DType dtype,
                    Memory kind);
  // float32 without gaps to the type of `out`, of as many elements.
  void round(const Tensor& x, const Tensor& out);
  void download_raw(const Tensor& tensor, void* values);
  // `places` are those of the rows that have no gaps: of x, or of `out` if they are gathered.
  void move_rows(const Tensor& x, const Tensor& out, const kernels::RowPlace* places,
                 std::int64_t rows, bool gather);
  void multiply(const Tensor& x, const Tensor& weight, const Tensor& out, Store store,
                cudaStream_t stream, int side);
  void swiglu(const Tensor& gate_up, const Tensor& out);
  IndexOperand index_operand(const Tensor& x, std::int64_t vectors, std::int64_t width);
  struct DistillPart;
  void distill_pairs(const DistillPart& part);
  void distill_sets(const DistillPart& part, const Tensor& key_sums);
  void distill_rows(const DistillPart& part, float gradient_scale);
  Tensor widened(const Tensor& x);
  void run_experts(const Tensor& x, const std::vector<Tensor>& weights,
                   const std::vector<std::int32_t>& counts, const Tensor& out);
  void run_grouped_experts(const Tensor& x, const std::vector<Tensor>& weights,
                           const Tensor& counts, const Tensor& out);
  std::vector<std::int32_t> expert_counts(const Tensor& counts);

  int device_;
  CudaOptions options_;
  std::string device_name_;
  std::int64_t memory_bytes_ = 0;
  std::int64_t logits_bytes_ = std::int64_t{512}
                               << 20;                 // of logits that indexer or loss hold at once
  std::int64_t slot_bytes_ = std::int64_t{64} << 20;  // of a slot of a WeightUploader
  cuda::SharedStream stream_;
  std::array<cuda::Stream, cuda::Gemm::kSideStreams>
      side_streams_;  // products of different experts
  std::array<cuda::Event, cuda::Gemm::kSideStreams> side_done_;
  cuda::Event forked_;
  cuda::DeviceMemory memory_;
  cuda::LayoutCache layouts_;
  cuda::Gemm gemm_;
  cuda::ComponentClock clock_;
  cuda::PinnedBuffer pinned_;
};

namespace cuda {

// The kernels' name of an activation type.
inline kernels::Type kernel_type(DType type) {
  return type == DType::bf16 ? kernels::Type::bf16 : kernels::Type::f32;
}

// The kernels' name of a type that checkpoints store.
inline kernels::Type stored_type(DType type) {
  if (type == DType::f8_e4m3) return kernels::Type::e4m3;
  return type == DType::f16 ? kernels::Type::f16 : kernel_type(type);
}

}  // namespace cuda
}  // namespace indexcache
