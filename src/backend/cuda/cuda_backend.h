// SPDX-License-Identifier: Apache-2.0
// The operations on one NVIDIA GPU: kernels/ and cuBLASLt behind Backend. The host waits where it
// needs a value (expert counts, losses, downloads).
#pragma once

#include "backend/cuda/cuda_device.h"
#include "backend/cuda/device_rows.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/weight_tables.h"
#include "backend/expert_products.h"
#include "backend/gpu_scratch.h"
#include "kernels/block_quantize.h"
#include "kernels/grouped_gemm.h"
#include "kernels/paged_cache.h"
#include "kernels/types.h"

#include <algorithm>
#include <array>
#include <span>
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
  std::int64_t scratch_bytes(const ModelShape& shape, std::int64_t rows,
                             std::int64_t longest) const override;
  std::int64_t logits_bytes(const ModelShape& shape, std::int64_t rows,
                            std::int64_t longest) const override;
  std::int64_t linear_row_bytes(std::int64_t width) const override;
  std::int64_t attention_row_bytes(const ModelShape& shape) const override;
  std::int64_t mlp_row_bytes(std::int64_t hidden, std::int64_t middle) const override;
  std::int64_t expert_row_bytes(const ModelShape& shape) const override;
  PageFormat index_page_format(std::int64_t width) const override;
  LinearInput linear_input(const Tensor& x) override;
  LinearInput normalized_input(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                               float eps, const Tensor& out) override;

#include "backend/operation_overrides.inc"

 private:
  // Rows as a product takes them; only e4m3 has scales.
  struct Operand {
    Tensor values;
    Tensor scales;
  };
  // What the indexer multiplies. The scales of FP8 queries are in the head weights.
  struct IndexOperands {
    Operand queries;  // [rows * heads, width]
    Operand keys;     // [key rows, width]
    Tensor head_weights;
    kernels::Type type;
    std::int64_t heads, width;

    const char* queries_from(std::int64_t row) const {
      const auto bytes = static_cast<std::int64_t>(size_of(queries.values.dtype()));
      return queries.values.data<char>() + row * heads * width * bytes;
    }
    const float* head_weights_from(std::int64_t row) const {
      return head_weights.data<float>() + row * heads;
    }
  };
  // A slot is a row that goes to one of the experts that it chose; an expert has consecutive slots.
  struct ExpertSlots {
    Tensor counts;   // i32 [1, experts]
    Tensor slot_of;  // i32 [rows, experts of a row]

    std::int64_t total() const { return slot_of.rows() * slot_of.cols(); }
  };

  // `places` are those of the rows that have no gaps: of x, or of `out` if they are gathered.
  void move_rows(const Tensor& x, const Tensor& out, const kernels::RowPlace* places,
                 std::int64_t rows, bool gather);
  void multiply(const LinearInput& x, const Tensor& weight, const Tensor& out, Store store,
                cudaStream_t stream, int side);
  void swiglu(const Tensor& gate_up, const Tensor& out, float limit);
  // Rows of the indexer in the type that its logits are computed in.
  Operand index_operand(const Tensor& x, std::int64_t vectors, std::int64_t width);
  // Without keys.
  IndexOperands asking_operands(const Tensor& queries, const Tensor& head_weights,
                                std::int64_t width);
  IndexOperands index_operands(const Tensor& queries, const Tensor& head_weights,
                               const Tensor& keys);
  void score_candidates(const IndexOperands& in, std::int64_t first_row, const Operand& keys,
                        const cuda::DeviceRows& places, const Tensor& logits);
  void take_top_k(const Tensor& logits, const kernels::RowPlace* places, std::int64_t longest,
                  const Tensor& sets);
  void select_exactly(const IndexOperands& in, std::int64_t first_row, const RowLayout& rows,
                      const RowLayout& key_rows, const Tensor& sets);
  // Of one query per sequence, by the kernel that reads pages, or from gathered keys.
  void score_pages(const IndexOperands& in, const RowLayout& rows, const RowLayout& key_rows,
                   const kernels::Pages& pages, const Tensor& logits);
  void attend_gathered(const RowLayout& rows, const Heads& queries, const kernels::Pages& pages,
                       const PageFormat& format, const Tensor& sets, float scale, const Heads& out,
                       const Tensor& sinks);
  struct HisaPart;
  void select_by_hisa(const HisaPart& part, const Tensor& sets);
  void choose_blocks(const HisaPart& part, std::int64_t first, std::int64_t rows);
  void score_chosen(const HisaPart& part, std::int64_t first);
  Operand pooled_keys(const IndexOperands& in, const Segment& keys, const Hisa& hisa);
  void select_by_hisa(const IndexOperands& in, const Hisa& hisa, const Segment& segment,
                      const Segment& keys, const Tensor& sets);
  // What hisa_topk() takes at most for scores and choices.
  std::int64_t hisa_bytes(const ModelShape& shape, std::int64_t rows, std::int64_t longest) const;
  struct DistillPart;
  void distill_pairs(const DistillPart& part);
  void distill_sets(const DistillPart& part, const Tensor& key_sums);
  void distill_rows(const DistillPart& part, float gradient_scale);
  Tensor widened(const Tensor& x);
  void run_experts(const Tensor& x, const std::vector<Tensor>& weights,
                   const std::vector<std::int32_t>& counts, const Tensor& out);
  void run_small_experts(const Tensor& x, const std::vector<Tensor>& weights, const Tensor& counts,
                         const Tensor& out);
  std::vector<std::int32_t> expert_counts(const Tensor& counts);
  ExpertSlots slots_of(const Routing& routing, std::int64_t experts);
  // Rows in the order of slots.
  Operand in_slots(const Operand& x, const ExpertSlots& slots);
  // The results of the experts' MLPs, [slots, H].
  Tensor single_experts(const Tensor& x, const ExpertSlots& slots, const ExpertWeights& weights,
                        ExpertProducts products, float limit);
  Tensor grouped_experts(const LinearInput& x, const ExpertSlots& slots,
                         const ExpertWeights& weights, float limit);

  // x in the type of `weight`; SwiGLU of x.
  Operand operand_for(const Tensor& weight, const LinearInput& x);
  Operand gated_operand_for(const Tensor& weight, const Tensor& gate_up, float limit);
  Operand allocate_quantized(std::int64_t rows, std::int64_t width);
  // The fields of `params` that the tensors decide are filled in.
  Operand quantized(const Tensor& x, kernels::BlockQuantizeParams params);
  // out (+)= x weight^T, one launch for all weights, which have one shape and type. `counts`, i32
  // [1, weights], has the consecutive rows of each; empty for one weight.
  void multiply_groups(const Operand& x, std::span<const Tensor> weights, const Tensor& counts,
                       const Tensor& out, Store store);
  // out = SwiGLU of x weight^T (a weight's upper half is `gate`), all in bf16.
  void multiply_gated_groups(const Operand& x, std::span<const Tensor> weights,
                             const Tensor& counts, const Tensor& out, float limit);
  // `params` has shapes, types, and what becomes of the results; addresses are filled in.
  void multiply_groups(const Operand& x, std::span<const Tensor> weights, const Tensor& counts,
                       const Tensor& out, kernels::GroupedGemmParams params);
  std::int64_t table_bytes(const ModelShape& shape) const;

  // TokenComparison of every x on the device, a row of each tensor per x.
  struct Comparisons {
    Tensor loss, kl;  // float64 [xs, rows]
    Tensor same_top;  // u8 [xs, rows]
  };
  // Losses float64 [rows, 1] of rows with targets. Logits are written, or reduced as they are
  // computed, which takes products of groups.
  bool reduces_logits(const Tensor& x, const Tensor& lm_head) const;
  struct LogitReducer;
  void written_losses(const Tensor& x, const Tensor& lm_head, const Tensor& targets,
                      const Tensor& losses);
  void reduced_losses(const Tensor& x, const Tensor& lm_head, const Tensor& targets,
                      const Tensor& losses);
  void written_comparisons(const Tensor& reference, std::span<const Tensor> xs,
                           const Tensor& lm_head, const Tensor& targets, const Comparisons& out);
  void reduced_comparisons(const Tensor& reference, std::span<const Tensor> xs,
                           const Tensor& lm_head, const Tensor& targets, const Comparisons& out);

  // Bytes of logits that the indexer or a loss computes at a time.
  std::int64_t logits_chunk() const {
    return gpu_logits_chunk(memory_bytes());
  }
  // How many of `rows` get logits of tokens at a time, at `row_bytes` per row: at least one.
  std::int64_t loss_rows(std::int64_t rows, std::int64_t row_bytes) const {
    return std::clamp<std::int64_t>(logits_chunk() / row_bytes, 1, rows);
  }

  // Products of different experts where one launch cannot compute all of them.
  std::array<cuda::Stream, kProductStreams> side_streams_;
  std::array<cuda::Event, kProductStreams> side_done_;
  cuda::Event forked_;
  cuda::LayoutCache layouts_;
  cuda::Gemm gemm_;
  cuda::WeightTables tables_;
  cuda::PinnedBuffer pinned_;
};

}  // namespace indexcache
