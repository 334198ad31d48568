// SPDX-License-Identifier: Apache-2.0
// The operations of the CPU backend that compute: all that is compiled once per instruction set.
//
// The files of this folder are compiled for each of them, and of each result only its table of
// functions, an Arithmetic, is visible to the rest of the program (cmake/CpuIsa.cmake): templates
// and inline functions that both need exist once inside and once outside, so that no instruction
// that a processor may lack is reached except through its table. For the same reason nothing here
// may have a constructor that runs when the program starts.
#pragma once

#include "backend/backend.h"
#include "backend/precision.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace indexcache::cpu {

// How long the threads of a selection scored keys and chose among them, all of them together.
struct SelectionTime {
  std::atomic<std::int64_t> scoring = 0, choosing = 0;  // nanoseconds

  double share_of_choosing() const {
    const auto all = static_cast<double>(scoring + choosing);
    return all > 0 ? static_cast<double>(choosing) / all : 0;
  }
};

// Operations of Backend, which has their contracts, on `threads` threads.
void rms_norm(int threads, const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out);
void layer_norm(int threads, const RowLayout& rows, const Tensor& x, const Tensor& weight,
                const Tensor& bias, float eps, const Tensor& out);
void linear(int threads, const RowLayout& rows, const Tensor& x, const Tensor& weight,
            const Tensor& out, Store store);
void head_linear(int threads, const RowLayout& rows, const Heads& x, const Tensor& weight,
                 const Heads& out);
void expand_heads(int threads, const RowLayout& rows, const Tensor& x, const Tensor& weight,
                  const Heads& out);
void read_streams(int threads, const RowLayout& rows, const Tensor& streams,
                  const StreamWeights& weights, const StreamRule& rule, const Tensor& out,
                  const Tensor& factors);
void write_streams(int threads, const RowLayout& rows, const Tensor& x, const Tensor& factors,
                   const Tensor& streams);
void rope(int threads, const RowLayout& rows, const Heads& x, const Tensor& cosines,
          const Tensor& sines, RopeLayout layout, const Heads& out);
void sigmoid_gate(int threads, const RowLayout& rows, const Heads& gates, const Heads& values);
// Copies x, f32 with vectors of `width` numbers in each row, as the indexer's type (round_index.h).
void round_index(int threads, Precision precision, std::int64_t width, const Tensor& x,
                 const Tensor& out);
void index_topk(int threads, const RowLayout& rows, const Tensor& queries,
                const Tensor& head_weights, const RowLayout& key_rows, const Tensor& keys,
                const Tensor& sets, SelectionTime& time);
// As Backend's, with scratch for the means of complete blocks (backend/hisa_layout.h): f32 [blocks,
// width].
void hisa_topk(int threads, const RowLayout& rows, const Tensor& queries,
               const Tensor& head_weights, const RowLayout& key_rows, const Tensor& keys,
               const Hisa& hisa, const Tensor& sets, const Tensor& means, SelectionTime& time);
std::vector<std::int32_t> common_counts(int threads, const Tensor& a, const Tensor& b);
void sparse_attention(int threads, const RowLayout& rows, const Heads& queries,
                      const RowLayout& key_rows, const Tensor& keys, const Tensor& values,
                      const Tensor& sets, float scale, const Heads& out, const Tensor& sinks);
void window_attention(int threads, const RowLayout& rows, const Heads& queries,
                      const WindowKeys& keys, float scale, const Heads& out, const Tensor& sinks);
void pool_entries(int threads, const RowLayout& rows, const Tensor& x, const Tensor& bias,
                  const RowLayout& entry_rows, const Tensor& out);
void write_pages(int threads, const RowLayout& rows, const Tensor& x, const Tensor& tables,
                 const PagedCache& cache);
// As Backend's; the keys of plain pages are rounded when they are read.
void paged_topk(int threads, Precision indexer, const RowLayout& rows, const Tensor& queries,
                const Tensor& head_weights, const Tensor& tables, const PagedCache& cache,
                const Tensor& sets, SelectionTime& time);
void paged_attention(int threads, const RowLayout& rows, const Heads& queries, const Tensor& tables,
                     const PagedCache& cache, const Tensor& sets, float scale, const Heads& out,
                     const Tensor& sinks);
void causal_attention(int threads, const RowLayout& rows, const Heads& queries,
                      const RowLayout& key_rows, const ExpandedKeys& keys, float scale,
                      const Heads& out, const Tensor& sinks);
void gated_mlp(int threads, const RowLayout& rows, const Tensor& x, const Tensor& gate_up,
               const Tensor& down, const Tensor& out, float limit);
// Into `routing`, whose tensors have been allocated.
void route(int threads, const RowLayout& rows, const Tensor& logits, const Tensor& bias,
           const RouterRule& rule, const Routing& routing);
// Fills routing.weights for routing.experts.
void weigh_experts(int threads, const RowLayout& rows, const Tensor& logits, const RouterRule& rule,
                   const Routing& routing);
void experts(int threads, const RowLayout& rows, const Tensor& x, const Routing& routing,
             const ExpertWeights& weights, const Tensor& out, float limit);
std::vector<double> next_token_loss(int threads, const RowLayout& rows, const Tensor& x,
                                    const Tensor& lm_head, const Tensor& targets);
std::vector<TokenComparison> compare_next_tokens(int threads, const RowLayout& rows,
                                                 const Tensor& reference,
                                                 std::span<const Tensor> xs, const Tensor& lm_head,
                                                 const Tensor& targets);
std::vector<std::int64_t> overlap_counts(int threads, const RowLayout& rows,
                                         const std::vector<Tensor>& sets,
                                         std::span<const std::int64_t> bucket_ends);
std::vector<std::int64_t> neighbor_counts(int threads, const RowLayout& rows, const Tensor& sets,
                                          std::span<const std::int64_t> distances,
                                          std::span<const std::int64_t> groups,
                                          std::span<const std::int64_t> bucket_ends);
// As Backend's, with scratch for the gradients of scores: f32 [rows, candidates].
void distill_indexer(int threads, const RowLayout& rows, const IndexScores& scores,
                     const RowLayout& key_rows, const Tensor& sets, const IndexTarget& target,
                     float row_weight, const IndexGradients& gradients, const Tensor& divergences,
                     const Tensor& d_scores);
void mean_attention(int threads, const RowLayout& rows, const Heads& queries,
                    const RowLayout& key_rows, const Tensor& keys, const Tensor& sets, float scale,
                    float weight, const Tensor& sums);
void linear_backward(int threads, const RowLayout& rows, const Tensor& x, const Tensor& d_out,
                     const Tensor& gradient);
void layer_norm_backward(const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
                         const Tensor& d_out, const Tensor& d_weight, const Tensor& d_bias);
void add(int threads, const Tensor& x, const Tensor& out);
std::vector<double> squared_norms(int threads, const Tensor& x);
void adam(int threads, const AdamStep& step, const Tensor& gradients, const Tensor& mean,
          const Tensor& variance, const Tensor& parameters);
std::unique_ptr<WeightUploader> make_weight_uploader();

// Writes the positions of the k highest scores to out[0..k), ascending. The order is total: higher
// score first, then lower position; -0 equals +0. Requires k <= scores.size() and no NaN.
// `workspace` is reused between calls.
void select_top_k(std::span<const float> scores, std::int64_t k,
                  std::vector<std::uint32_t>& workspace, std::int32_t* out);

struct Arithmetic {
  // The highest level of x86-64 that the compiler took for granted: a processor needs it at least.
  // Empty on other processors.
  std::string_view compiled_for;

  decltype(&cpu::rms_norm) rms_norm;
  decltype(&cpu::layer_norm) layer_norm;
  decltype(&cpu::linear) linear;
  decltype(&cpu::head_linear) head_linear;
  decltype(&cpu::expand_heads) expand_heads;
  decltype(&cpu::read_streams) read_streams;
  decltype(&cpu::write_streams) write_streams;
  decltype(&cpu::rope) rope;
  decltype(&cpu::sigmoid_gate) sigmoid_gate;
  decltype(&cpu::round_index) round_index;
  decltype(&cpu::index_topk) index_topk;
  decltype(&cpu::hisa_topk) hisa_topk;
  decltype(&cpu::common_counts) common_counts;
  decltype(&cpu::sparse_attention) sparse_attention;
  decltype(&cpu::window_attention) window_attention;
  decltype(&cpu::pool_entries) pool_entries;
  decltype(&cpu::write_pages) write_pages;
  decltype(&cpu::paged_topk) paged_topk;
  decltype(&cpu::paged_attention) paged_attention;
  decltype(&cpu::causal_attention) causal_attention;
  decltype(&cpu::gated_mlp) gated_mlp;
  decltype(&cpu::route) route;
  decltype(&cpu::weigh_experts) weigh_experts;
  decltype(&cpu::experts) experts;
  decltype(&cpu::next_token_loss) next_token_loss;
  decltype(&cpu::compare_next_tokens) compare_next_tokens;
  decltype(&cpu::overlap_counts) overlap_counts;
  decltype(&cpu::neighbor_counts) neighbor_counts;
  decltype(&cpu::mean_attention) mean_attention;
  decltype(&cpu::distill_indexer) distill_indexer;
  decltype(&cpu::linear_backward) linear_backward;
  decltype(&cpu::layer_norm_backward) layer_norm_backward;
  decltype(&cpu::add) add;
  decltype(&cpu::squared_norms) squared_norms;
  decltype(&cpu::adam) adam;
  decltype(&cpu::make_weight_uploader) make_weight_uploader;
  decltype(&cpu::select_top_k) select_top_k;
};

}  // namespace indexcache::cpu
