// SPDX-License-Identifier: Apache-2.0
// What the CPU offers: threads, memory, time, and its arithmetic.
#include "backend/cpu/cpu_backend.h"

#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/hisa_layout.h"
#include "backend/make_cpu_backend.h"
#include "backend/row_chunks.h"
#include "core/error.h"
#include "core/thread_count.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <unistd.h>

namespace indexcache {
namespace {

// Rows of indexer queries that are rounded at a time.
constexpr std::int64_t kRoundedRows = 1024;

// Half of the machine's memory; the rest is left to the page cache and to other processes.
std::int64_t half_of_memory() {
  return std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE) / 2;
}

// The rows of one sequence as a layout of their own.
RowLayout by_itself(Segment segment) {
  segment.first_row = 0;
  return {{segment}, segment.rows};
}

// Numbers that HISA takes: per thread the scores and products of blocks and of the keys in those
// that are chosen, and once the means of blocks.
struct HisaNumbers {
  std::int64_t per_thread = 0, means = 0;
};

HisaNumbers hisa_numbers(const ModelShape& shape, std::int64_t longest) {
  if (!shape.indexer || shape.indexer->takes_all(longest)) return {};
  const Hisa& hisa = *shape.indexer;
  const std::int64_t blocks = hisa.blocks_of(longest);
  const std::int64_t products = shape.index_heads * std::max(blocks, hisa.block);
  return {blocks + hisa.blocks * (hisa.block + 1) + products, blocks * shape.index_head_dim};
}

// Numbers that attention over a window and entries, two positions each at least, takes a thread for
// four heads; and what pools entries: peaks and sums.
std::int64_t entry_numbers(const ModelShape& shape, std::int64_t longest) {
  if (shape.window == 0) return 0;
  return 4 * (std::min(shape.window, longest) + longest / 2) + 2 * shape.latent_width;
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads, Precision compute, Precision indexer) {
  return std::make_unique<CpuBackend>(threads, compute, indexer);
}

CpuBackend::CpuBackend(int threads, const cpu::Isa& isa, Precision compute, Precision indexer)
    : isa_(isa),
      threads_(thread_count(threads)),
      compute_(compute),
      indexer_(indexer),
      memory_bytes_(half_of_memory()) {}

std::string CpuBackend::name() const {
  std::string name = "cpu " + isa_.text() + (keeps_fp8() ? " fp8" : "");
  if (indexer_ != Precision::fp32) name += " indexer " + std::string(name_of(indexer_));
  return name;
}

void CpuBackend::check(const ModelShape& shape) const {
  if (indexer_ == Precision::fp32) return;
  const std::string wanted = "--indexer-precision " + std::string(name_of(indexer_));
  if (shape.indexer) {
    throw UsageError({"the CPU computes HISA with an fp32 indexer only", wanted, "",
                      "--indexer-precision fp32"});
  }
  const auto width = static_cast<std::uint64_t>(shape.index_head_dim);
  if (indexer_ == Precision::bf16 || std::has_single_bit(width)) return;
  throw UsageError({"this model's indexer cannot run in " + std::string(name_of(indexer_)), wanted,
                    "index_head_dim is " + std::to_string(width) + "; it must be a power of two",
                    "--indexer-precision fp32"});
}

std::string CpuBackend::remark() const {
  if (!keeps_fp8()) return "";
  return "FP8 products run on the reference implementation of the CPU, which is slow; Hopper GPUs "
         "(H100, H200) have units for them";
}

// Every thread keeps the largest matrix of each kind that it has needed (cpu::scratch).
std::int64_t CpuBackend::scratch_bytes(const ModelShape& shape, std::int64_t rows,
                                       std::int64_t longest) const {
  constexpr std::int64_t kTile = 32, kKeys = 256, kRows = 128, kLossRows = 64, kExpertRows = 256;
  constexpr std::int64_t kHeads = 16;
  rows = std::max<std::int64_t>(rows, 1);
  const std::int64_t tile = std::min(kTile, rows);
  // The rows of a product as FP8 numbers with their scales, and a row of its weight.
  const std::int64_t widest =
      std::max({shape.hidden, shape.intermediate, shape.heads * shape.latent_width});
  const std::int64_t quantized =
      keeps_fp8() ? (std::min(kExpertRows, rows) + 1) * (widest + scale_blocks(widest)) : 0;
  const HisaNumbers hisa = hisa_numbers(shape, longest);
  const std::int64_t numbers =
      quantized + hisa.per_thread + kHeads * std::min(shape.index_topk, longest) +  // attention
      (shape.dense ? tile * kKeys : 0) +                                            // dense
      tile * (longest + shape.index_heads * kKeys) +                                // indexer
      std::min(kRows, rows) * 2 * shape.intermediate +                              // dense MLP
      std::min(kLossRows, rows) * 2 * shape.vocabulary +  // loss, and that of a reference
      std::min(kRows, rows) * (2 + shape.streams) * shape.streams +  // what reads streams
      shape.streams * shape.hidden +                                 // and what mixes them
      entry_numbers(shape, longest) +
      std::min(kExpertRows, rows) * (2 * shape.hidden + 2 * shape.moe_intermediate);
  const std::int64_t queries = std::min(kRoundedRows, rows) * shape.index_heads;
  const std::int64_t rounded =
      indexer_ == Precision::fp32 ? 0 : (queries + longest) * shape.index_head_dim;
  return 4 * (numbers * threads_ + hisa.means + rounded);
}

double CpuBackend::measure(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void CpuBackend::start_profile() {
  timeline_.start();
}

ComponentProfile CpuBackend::take_profile() {
  return timeline_.take();
}

void CpuBackend::rms_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
                          const Tensor& out) {
  const Operation operation(*this, Component::norms);
  compute().rms_norm(threads_, rows, x, weight, eps, out);
}

void CpuBackend::layer_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                            const Tensor& bias, float eps, const Tensor& out) {
  const Operation operation(*this, Component::norms);
  compute().layer_norm(threads_, rows, x, weight, bias, eps, out);
}

void CpuBackend::linear(const RowLayout& rows, const LinearInput& x, const Tensor& weight,
                        const Tensor& out, Store store) {
  const Operation operation(*this, Component::projections);
  compute().linear(threads_, rows, x.plain, weight, out, store);
}

void CpuBackend::head_linear(const RowLayout& rows, const Heads& x, const Tensor& weight,
                             const Heads& out) {
  const Operation operation(*this, Component::projections);
  compute().head_linear(threads_, rows, x, weight, out);
}

void CpuBackend::expand_heads(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                              const Heads& out) {
  const Operation operation(*this, Component::projections);
  compute().expand_heads(threads_, rows, x, weight, out);
}

void CpuBackend::read_streams(const RowLayout& rows, const Tensor& streams,
                              const StreamWeights& weights, const StreamRule& rule,
                              const Tensor& out, const Tensor& factors) {
  const Operation operation(*this, Component::norms);
  compute().read_streams(threads_, rows, streams, weights, rule, out, factors);
}

void CpuBackend::write_streams(const RowLayout& rows, const Tensor& x, const Tensor& factors,
                               const Tensor& streams) {
  const Operation operation(*this, Component::norms);
  compute().write_streams(threads_, rows, x, factors, streams);
}

void CpuBackend::rope(const RowLayout& rows, const Heads& x, const Tensor& cosines,
                      const Tensor& sines, RopeLayout layout, const Heads& out) {
  const Operation operation(*this, Component::norms);
  compute().rope(threads_, rows, x, cosines, sines, layout, out);
}

void CpuBackend::sigmoid_gate(const RowLayout& rows, const Heads& gates, const Heads& values) {
  const Operation operation(*this, Component::norms);
  compute().sigmoid_gate(threads_, rows, gates, values);
}

Tensor CpuBackend::index_operand(const Tensor& x, std::int64_t width) {
  if (indexer_ == Precision::fp32) return x;
  Tensor rounded = allocate(x.rows(), x.cols());
  compute().round_index(threads_, indexer_, width, x, rounded);
  return rounded;
}

PageFormat CpuBackend::index_page_format(std::int64_t width) const {
  if (indexer_ != Precision::fp8) return Backend::index_page_format(width);
  return {PageLayout::index_fp8, DType::f8_e4m3, width};
}

void CpuBackend::index_topk(const RowLayout& rows, const Tensor& queries,
                            const Tensor& head_weights, const RowLayout& key_rows,
                            const Tensor& keys, const Tensor& sets) {
  Operation operation(*this, Component::indexer_logits);
  cpu::SelectionTime time;
  if (indexer_ == Precision::fp32) {
    compute().index_topk(threads_, rows, queries, head_weights, key_rows, keys, sets, time);
  } else {
    // Rounded keys of only one sequence exist at a time: scratch_bytes() has those of the longest.
    for (std::size_t s = 0; s < rows.segments.size(); ++s) {
      const Segment &asking = rows.segments[s], &seen = key_rows.segments[s];
      if (asking.rows == 0) continue;
      const Tensor rounded = index_operand(keys.row_range(seen.first_row, seen.rows), keys.cols());
      for (const RowChunk& chunk : row_chunks(by_itself(asking), kRoundedRows)) {
        const auto part = [&](const Tensor& whole) {
          return chunk.of(whole.row_range(asking.first_row, asking.rows));
        };
        compute().index_topk(threads_, chunk.rows, index_operand(part(queries), keys.cols()),
                             part(head_weights), by_itself(seen), rounded, part(sets), time);
      }
    }
  }
  operation.give(counted(Component::top_k), time.share_of_choosing());
}

void CpuBackend::hisa_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                           const RowLayout& key_rows, const Tensor& keys, const Hisa& hisa,
                           const Tensor& sets) {
  Operation operation(*this, Component::indexer_logits);
  cpu::SelectionTime time;
  const Tensor means = allocate(complete_blocks(key_rows, hisa).total, keys.cols());
  compute().hisa_topk(threads_, rows, queries, head_weights, key_rows, keys, hisa, sets, means,
                      time);
  operation.give(counted(Component::top_k), time.share_of_choosing());
}

std::vector<std::int32_t> CpuBackend::common_counts(const Tensor& a, const Tensor& b) {
  return compute().common_counts(threads_, a, b);
}

void CpuBackend::sparse_attention(const RowLayout& rows, const Heads& queries,
                                  const RowLayout& key_rows, const Tensor& keys,
                                  const Tensor& values, const Tensor& sets, float scale,
                                  const Heads& out, const Tensor& sinks) {
  const Operation operation(*this, Component::sparse_attention);
  compute().sparse_attention(threads_, rows, queries, key_rows, keys, values, sets, scale, out,
                             sinks);
}

void CpuBackend::write_pages(const RowLayout& rows, const Tensor& x, const Tensor& tables,
                             const PagedCache& cache) {
  const Operation operation(*this, Component::key_writes);
  compute().write_pages(threads_, rows, x, tables, cache);
}

void CpuBackend::paged_topk(const RowLayout& rows, const Tensor& queries,
                            const Tensor& head_weights, const Tensor& tables,
                            const PagedCache& cache, const Tensor& sets) {
  Operation operation(*this, Component::indexer_logits);
  cpu::SelectionTime time;
  const bool fp8 = cache.format.layout == PageLayout::index_fp8;  // whose scales join the weights
  compute().paged_topk(threads_, indexer_, rows,
                       fp8 ? queries : index_operand(queries, cache.format.width), head_weights,
                       tables, cache, sets, time);
  operation.give(counted(Component::top_k), time.share_of_choosing());
}

void CpuBackend::paged_attention(const RowLayout& rows, const Heads& queries, const Tensor& tables,
                                 const PagedCache& cache, const Tensor& sets, float scale,
                                 const Heads& out, const Tensor& sinks) {
  const Operation operation(*this, Component::sparse_attention);
  compute().paged_attention(threads_, rows, queries, tables, cache, sets, scale, out, sinks);
}

void CpuBackend::causal_attention(const RowLayout& rows, const Heads& queries,
                                  const RowLayout& key_rows, const ExpandedKeys& keys, float scale,
                                  const Heads& out, const Tensor& sinks) {
  const Operation operation(*this, Component::sparse_attention);
  compute().causal_attention(threads_, rows, queries, key_rows, keys, scale, out, sinks);
}

void CpuBackend::gated_mlp(const RowLayout& rows, const LinearInput& x, const Tensor& gate_up,
                           const Tensor& down, const Tensor& out, float limit) {
  const Operation operation(*this, Component::experts);
  compute().gated_mlp(threads_, rows, x.plain, gate_up, down, out, limit);
}

Routing CpuBackend::route(const RowLayout& rows, const Tensor& logits, const Tensor& bias,
                          const RouterRule& rule) {
  const Operation operation(*this, Component::experts);
  Routing routing{allocate(rows.total, rule.experts_used, DType::i32),
                  allocate(rows.total, rule.experts_used)};
  compute().route(threads_, rows, logits, bias, rule, routing);
  return routing;
}

void CpuBackend::experts(const RowLayout& rows, const LinearInput& x, const Routing& routing,
                         const ExpertWeights& weights, const Tensor& out, float limit) {
  const Operation operation(*this, Component::experts);
  compute().experts(threads_, rows, x.plain, routing, weights, out, limit);
}

Routing CpuBackend::weigh_experts(const RowLayout& rows, const Tensor& logits,
                                  const Tensor& experts, const RouterRule& rule) {
  const Operation operation(*this, Component::experts);
  Routing routing{experts, allocate(rows.total, experts.cols())};
  compute().weigh_experts(threads_, rows, logits, rule, routing);
  return routing;
}

void CpuBackend::window_attention(const RowLayout& rows, const Heads& queries,
                                  const WindowKeys& keys, float scale, const Heads& out,
                                  const Tensor& sinks) {
  const Operation operation(*this, Component::sparse_attention);
  compute().window_attention(threads_, rows, queries, keys, scale, out, sinks);
}

void CpuBackend::pool_entries(const RowLayout& rows, const Tensor& x, const Tensor& bias,
                              const RowLayout& entry_rows, const Tensor& out) {
  const Operation operation(*this, Component::norms);
  compute().pool_entries(threads_, rows, x, bias, entry_rows, out);
}

std::vector<double> CpuBackend::next_token_loss(const RowLayout& rows, const Tensor& x,
                                                const Tensor& lm_head, const Tensor& targets) {
  const Operation operation(*this, Component::loss);
  return compute().next_token_loss(threads_, rows, x, lm_head, targets);
}

std::vector<TokenComparison> CpuBackend::compare_next_tokens(const RowLayout& rows,
                                                             const Tensor& reference,
                                                             std::span<const Tensor> xs,
                                                             const Tensor& lm_head,
                                                             const Tensor& targets) {
  const Operation operation(*this, Component::loss);
  return compute().compare_next_tokens(threads_, rows, reference, xs, lm_head, targets);
}

std::vector<std::int64_t> CpuBackend::overlap_counts(const RowLayout& rows,
                                                     const std::vector<Tensor>& sets,
                                                     std::span<const std::int64_t> bucket_ends) {
  return compute().overlap_counts(threads_, rows, sets, bucket_ends);
}

std::vector<std::int64_t> CpuBackend::neighbor_counts(const RowLayout& rows, const Tensor& sets,
                                                      std::span<const std::int64_t> distances,
                                                      std::span<const std::int64_t> groups,
                                                      std::span<const std::int64_t> bucket_ends) {
  return compute().neighbor_counts(threads_, rows, sets, distances, groups, bucket_ends);
}

void CpuBackend::mean_attention(const RowLayout& rows, const Heads& queries,
                                const RowLayout& key_rows, const Tensor& keys, const Tensor& sets,
                                float scale, float weight, const Tensor& sums) {
  compute().mean_attention(threads_, rows, queries, key_rows, keys, sets, scale, weight, sums);
}

void CpuBackend::distill_indexer(const RowLayout& rows, const IndexScores& scores,
                                 const RowLayout& key_rows, const Tensor& sets,
                                 const IndexTarget& target, float row_weight,
                                 const IndexGradients& gradients, const Tensor& divergences) {
  const Tensor d_scores = allocate(rows.total, target.sums.cols());
  compute().distill_indexer(threads_, rows, scores, key_rows, sets, target, row_weight, gradients,
                            divergences, d_scores);
}

void CpuBackend::linear_backward(const RowLayout& rows, const Tensor& x, const Tensor& d_out,
                                 const Tensor& gradient) {
  compute().linear_backward(threads_, rows, x, d_out, gradient);
}

void CpuBackend::layer_norm_backward(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                                     float eps, const Tensor& d_out, const Tensor& d_weight,
                                     const Tensor& d_bias) {
  compute().layer_norm_backward(rows, x, weight, eps, d_out, d_weight, d_bias);
}

void CpuBackend::add(const Tensor& x, const Tensor& out) {
  const Operation operation(*this, Component::other);
  compute().add(threads_, x, out);
}

void CpuBackend::fill_zero(const Tensor& tensor) {
  const Operation operation(*this, Component::other);
  const auto row_bytes = static_cast<std::size_t>(tensor.cols()) * size_of(tensor.dtype());
  for (std::int64_t row = 0; row < tensor.rows(); ++row) {
    std::memset(tensor.row_range(row, 1).data<void>(), 0, row_bytes);
  }
}

void CpuBackend::convert(const Tensor& x, const Tensor& out) {
  const Operation operation(*this, Component::other);
  std::copy_n(x.data<float>(), x.rows() * x.cols(), out.data<float>());
}

std::vector<double> CpuBackend::squared_norms(const Tensor& x) {
  return compute().squared_norms(threads_, x);
}

void CpuBackend::adam(const AdamStep& step, const Tensor& gradients, const Tensor& mean,
                      const Tensor& variance, const Tensor& parameters) {
  compute().adam(threads_, step, gradients, mean, variance, parameters);
}

std::unique_ptr<WeightUploader> CpuBackend::make_weight_uploader() {
  return compute().make_weight_uploader();
}

}  // namespace indexcache
