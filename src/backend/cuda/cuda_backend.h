// SPDX-License-Identifier: Apache-2.0
// The operations on one NVIDIA GPU: kernels/ and cuBLASLt behind Backend. The host waits where it
// needs a value (expert counts, losses, downloads).
#pragma once

#include "backend/cuda/cuda_device.h"
#include "backend/cuda/device_rows.h"
#include "backend/cuda/gemm.h"
#include "kernels/types.h"

#include <array>
#include <vector>

namespace indexcache {

class CudaBackend : public CudaDevice {
 public:
  // Device options.device, which must be usable (cuda_is_usable). Several backends may live in one
  // process, on different devices or on the same one; each plans with the memory that is free when
  // it is made, so those that share a device need limit_memory.
  explicit CudaBackend(const CudaOptions& options = {});
  ~CudaBackend() override;

  void check(const ModelShape& shape) const override;
  void limit_memory(std::int64_t bytes) override;
  std::int64_t scratch_bytes(const ModelShape& shape, std::int64_t rows,
                             std::int64_t longest) const override;

#include "backend/operation_overrides.inc"

 private:
  // Rows of the indexer in the type that its logits are computed in, with scales for e4m3.
  struct IndexOperand {
    Tensor values;
    Tensor scales;
  };

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

  void limit_logits();

  // Of logits that indexer or loss hold at once.
  std::int64_t logits_bytes_ = std::int64_t{1} << 30;
  // Products of different experts.
  std::array<cuda::Stream, cuda::Gemm::kSideStreams> side_streams_;
  std::array<cuda::Event, cuda::Gemm::kSideStreams> side_done_;
  cuda::Event forked_;
  cuda::LayoutCache layouts_;
  cuda::Gemm gemm_;
  cuda::PinnedBuffer pinned_;
};

}  // namespace indexcache
