// SPDX-License-Identifier: Apache-2.0
// The reference implementation: float32, Eigen for matrix products, OpenMP over tiles of rows.
#pragma once

#include "backend/backend.h"
#include "backend/memory_ledger.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace indexcache {

class CpuBackend : public Backend {
 public:
  // Every operation of this backend runs on `threads` threads (0: thread_count() decides); other
  // backends of the process and OpenMP's defaults are not affected.
  explicit CpuBackend(int threads = 0);

  std::string name() const override { return "cpu"; }

  std::int64_t memory_bytes() const override { return memory_bytes_; }
  void limit_memory(std::int64_t bytes) override { memory_bytes_ = std::min(memory_bytes_, bytes); }
  MemoryUse memory_use() const override { return ledger_->use(); }
  std::int64_t scratch_bytes(const ModelShape& shape, std::int64_t rows,
                             std::int64_t longest) const override;
  int threads() const { return threads_; }
  double measure(const std::function<void()>& body) override;

  Tensor allocate(std::int64_t rows, std::int64_t cols, DType dtype = DType::f32,
                  Memory kind = Memory::workspace) override;
  Tensor upload(std::vector<float> values, std::int64_t rows, std::int64_t cols) override;
  Tensor upload(std::span<const std::int32_t> values, std::int64_t rows,
                std::int64_t cols) override;
  std::unique_ptr<WeightUploader> make_weight_uploader() override;
  void fill_random(const Tensor& tensor, float scale, float offset, std::uint64_t seed) override;
  std::vector<float> download(const Tensor& tensor) override;
  std::vector<std::int32_t> download_indices(const Tensor& tensor) override;

  void embed(const Tensor& tokens, const Tensor& table, const Tensor& out) override;
  void rms_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
                const Tensor& out) override;
  void layer_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  float eps, const Tensor& out) override;
  void linear(const RowLayout& rows, const Tensor& x, const Tensor& weight, const Tensor& out,
              Store store) override;
  void head_linear(const RowLayout& rows, const Heads& x, const Tensor& weight,
                   const Heads& out) override;
  void rope(const RowLayout& rows, const Heads& x, const Tensor& cosines, const Tensor& sines,
            RopeLayout layout, const Heads& out) override;
  void copy_rows(const RowLayout& from, const Tensor& x, const RowLayout& to,
                 const Tensor& out) override;
  void index_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                  const RowLayout& key_rows, const Tensor& keys, const Tensor& sets) override;
  void sparse_attention(const RowLayout& rows, const Heads& queries, const RowLayout& key_rows,
                        const Tensor& keys, const Tensor& values, const Tensor& sets, float scale,
                        const Heads& out) override;
  void gated_mlp(const RowLayout& rows, const Tensor& x, const Tensor& gate_up, const Tensor& down,
                 const Tensor& out) override;
  Routing route(const RowLayout& rows, const Tensor& logits, const Tensor& bias,
                const RouterRule& rule) override;
  void experts(const RowLayout& rows, const Tensor& x, const Routing& routing,
               const ExpertWeights& weights, const Tensor& out) override;
  std::vector<double> next_token_loss(const RowLayout& rows, const Tensor& x, const Tensor& lm_head,
                                      const Tensor& targets) override;
  std::vector<std::int64_t> overlap_counts(const RowLayout& rows, const std::vector<Tensor>& sets,
                                           std::span<const std::int64_t> bucket_ends) override;

 private:
  std::shared_ptr<MemoryLedger> ledger_ = std::make_shared<MemoryLedger>();
  int threads_;
  std::int64_t memory_bytes_;
};

}  // namespace indexcache
