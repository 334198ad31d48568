// SPDX-License-Identifier: Apache-2.0
// A device that computes: the coarse operations of the DSA forward pass.
//
// The decoder (src/model) is written once over this interface; src/backend/cpu is the readable
// reference. Laws of every operation:
//  - float32 unless the backend says otherwise (activation()); sums in at least float32; no TF32.
//  - A row's result depends only on its own segment (sequence), never on what else is in the batch
//    or on the number of threads: this makes losses comparable bit for bit.
//  - Reductions have one fixed order: same device, same bits.
//  - Shapes are the caller's duty; operations do not allocate results unless they return them.
// Shapes below: rows = layout.total; H, A, rq, rk, dn, dr, dv, Ni, Di, K, E, P as in
// docs/numerics.md. The candidates of a row are rows 0, 1, … of its sequence's segment of keys, as
// many as Segment::candidates says for its position; sets contain such numbers.
#pragma once

#include "backend/device.h"
#include "backend/linear_input.h"
#include "backend/model_shape.h"
#include "backend/paged_cache.h"
#include "backend/tensor.h"
#include "backend/training.h"
#include "core/hisa.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace indexcache {

// How the members of a rotated pair are laid out (docs/numerics.md, RoPE).
enum class RopeLayout { interleaved, half_split };

enum class Store { assign, accumulate };

// How logits of a router become scores: sigmoid(x), or sqrt(ln(1 + e^x)).
enum class RouterScore { sigmoid, sqrt_softplus };

// noaux_tc routing (group-limited).
struct RouterRule {
  std::int64_t groups;        // n_group
  std::int64_t kept_groups;   // topk_group
  std::int64_t experts_used;  // num_experts_per_tok
  bool normalize;             // norm_topk_prob
  float scale;                // routed_scaling_factor
  // What orders the experts of groups that are not kept.
  float excluded = -std::numeric_limits<float>::infinity();
  RouterScore score = RouterScore::sigmoid;
};

// Limit of SwiGLU: silu(min(gate, limit)) * clamp(up, -limit, limit).
inline constexpr float kNoLimit = std::numeric_limits<float>::infinity();

// Residual streams, known as hyper-connections: the residual of a row is `count` vectors of H
// numbers. A sublayer reads a mixture of them, and what it computes is added to each of them with a
// factor of its own; before that they may be mixed with each other (docs/numerics.md).
struct StreamRule {
  std::int64_t count;     // n
  float norm_eps;         // of the norm of all n * H numbers
  float eps;              // added to shares, and to the numbers of the mixing matrix and their sums
  float factor_scale;     // of the factors
  float factor_eps;       // added to them
  int mixing_rounds = 0;  // Sinkhorn iterations of the mixing matrix; 0: streams are not mixed

  // What a sublayer writes with: n factors, then the mixing matrix [n, n] if there is one.
  std::int64_t coefficients() const { return count * (mixing_rounds > 0 ? 1 + count : 1); }
};

// What one sublayer, or the head, reads of the streams; all f32.
struct StreamWeights {
  // [n + coefficients, n * H]: rows of the shares, then of the factors and of the mixing matrix;
  // only [n, n * H] of the head.
  Tensor mixer;
  Tensor base;   // [1, rows of mixer]
  Tensor scale;  // one number for each of these parts: [1, 2] or [1, 3]; [1, 1] of the head
};

// What a query of window_attention() attends to, every vector being key and value: the last
// `window` positions up to its own, and of its candidates among the entries those in its set.
struct WindowKeys {
  const RowLayout& rows;  // of all positions
  Tensor keys;            // [rows, width]
  std::int64_t window;    // >= 1
  const RowLayout& entry_rows;
  Tensor entries;  // [entry rows, width]; empty: there are none
  Tensor sets;     // i32 [queries, k], ascending; empty: all candidates
};

// Keys and values of MLA in expanded form, [key_rows] each. A key of a head is its own part and
// then the rotated part, which all heads share.
struct ExpandedKeys {
  Heads nope;    // dn wide
  Tensor rope;   // [key_rows, dr]
  Heads values;  // dv wide
};

// Distances and groups of one call of neighbor_counts.
inline constexpr std::size_t kMostNeighborColumns = 16;

struct ExpertWeights {
  std::vector<Tensor> gate_up;  // per expert [2 * I, H]: gate rows, then up rows
  std::vector<Tensor> down;     // per expert [H, I]
};

struct Routing {
  Tensor experts;  // i32 [rows, P]; what route() chooses is ascending in each row
  Tensor weights;  // f32 [rows, P]
};

// How the next-token distribution of every row differs from a reference's: [rows] each. A row with
// a negative target is skipped and is 0 in all three.
struct TokenComparison {
  std::vector<double> loss;  // negative log-likelihood of the target in nats, as next_token_loss
                             // adds it up, to the last bit
  std::vector<double> kl;    // KL(reference || row) in nats, >= 0; 0 if both inputs are equal
  std::vector<std::uint8_t> same_top;  // 1 if the most likely token, the lowest id among equals, is
                                       // the reference's

  bool operator==(const TokenComparison&) const = default;
};

class Backend : public Device {
 public:
  // Returns if this backend can run a model of these sizes, before a weight is read. Throws
  // InputError naming the key of config.json and the limit, UsageError if another precision would
  // do. The default is a backend that runs every model.
  virtual void check(const ModelShape& shape) const { static_cast<void>(shape); }

  // out[r] = table[tokens[r]]; tokens i32 [rows, 1], table [V, H]; out f32, or i32 like the table.
  virtual void embed(const Tensor& tokens, const Tensor& table, const Tensor& out) = 0;

  // out = weight * x / sqrt(mean(x^2) + eps), a row at a time; out may be x.
  virtual void rms_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
                        const Tensor& out) = 0;

  // out = weight * (x - mean) / sqrt(variance + eps) + bias; out may be x.
  virtual void layer_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                          const Tensor& bias, float eps, const Tensor& out) = 0;

  // x as products read it: quantized once for all of them if keeps_fp8() and products quantize rows
  // on this device. Rows must not change afterwards.
  virtual LinearInput linear_input(const Tensor& x) { return x; }
  // The same of rms_norm() into `out`, of activation().
  virtual LinearInput normalized_input(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                                       float eps, const Tensor& out) {
    rms_norm(rows, x, weight, eps, out);
    return linear_input(out);
  }

  // out (+)= x weight^T; x [rows, in], weight [out, in]. A weight in FP8 with scales, which
  // gated_mlp() and experts() take as well if keeps_fp8(), is multiplied with quantized rows.
  virtual void linear(const RowLayout& rows, const LinearInput& x, const Tensor& weight,
                      const Tensor& out, Store store = Store::assign) = 0;

  // out_h = x_h W_h^T for every head; weight [heads * out.width, x.width].
  virtual void head_linear(const RowLayout& rows, const Heads& x, const Tensor& weight,
                           const Heads& out) = 0;

  // out_h = x W_h for every head, all of which read the same x; weight [heads * x.cols(),
  // out.width], a matrix per head: what head_linear() multiplies by, transposed.
  virtual void expand_heads(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                            const Heads& out) = 0;

  // m = mixer x / sqrt(mean(x^2) + norm_eps), with x all n * H numbers of a row of `streams`;
  //   out = sum_k (sigmoid(scale_0 m_k + base_k) + eps) x_k, the n vectors in order,
  //   factors_k = factor_scale * sigmoid(scale_1 m_{n + k} + base_{n + k}) + factor_eps,
  // and with mixing the matrix C, from scale_2 m + base of the other rows: softmax over each row, +
  // eps; then columns are divided by (their sum + eps), and mixing_rounds - 1 times rows, then
  // columns. streams f32 [rows, n * H], out f32 [rows, H], factors f32 [rows, coefficients], or
  // empty for the head.
  virtual void read_streams(const RowLayout& rows, const Tensor& streams,
                            const StreamWeights& weights, const StreamRule& rule, const Tensor& out,
                            const Tensor& factors) = 0;
  // Vector k of `streams` becomes factors_k x + (that vector, or with mixing sum_j C_jk vector j);
  // x f32 [rows, H].
  virtual void write_streams(const RowLayout& rows, const Tensor& x, const Tensor& factors,
                             const Tensor& streams) = 0;

  // Rotates every head of x by its row's position; cosines and sines [positions, x.width / 2].
  // Pairs are read and written in `layout`; out may be x.
  virtual void rope(const RowLayout& rows, const Heads& x, const Tensor& cosines,
                    const Tensor& sines, RopeLayout layout, const Heads& out) = 0;

  // values *= sigmoid(gates), of as many heads of the same width and type. `gates` may be `values`:
  // x * sigmoid(x) is SiLU.
  virtual void sigmoid_gate(const RowLayout& rows, const Heads& gates, const Heads& values) = 0;

  // Copies each segment of `from` to the rows of the same sequence and positions of `to`.
  virtual void copy_rows(const RowLayout& from, const Tensor& x, const RowLayout& to,
                         const Tensor& out) = 0;
  // The other way: fills the rows of `to` with those of the same sequence and positions of `from`.
  virtual void gather_rows(const RowLayout& from, const Tensor& x, const RowLayout& to,
                           const Tensor& out) = 0;

  // Lightning indexer and total-order top-k:
  //   score(t, u) = sum_h head_weights[t, h] * ReLU(queries[t, h] . keys[u]),  u a candidate of t
  // queries [rows, Ni * Di], head_weights [rows, Ni], keys [key_rows, Di]. Every query must have
  // more than k candidates. Of them the k with the highest score are taken, the lower candidate
  // first among equals, and written in ascending order to sets, i32 [rows, k].
  virtual void index_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                          const RowLayout& key_rows, const Tensor& keys, const Tensor& sets) = 0;

  // The same by HISA (docs/numerics.md): from the candidates in the best blocks of keys. A query
  // whose blocks are all chosen gets what index_topk() selects, to the last bit. `hisa` must leave
  // every query at least k candidates (check_fits).
  virtual void hisa_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                         const RowLayout& key_rows, const Tensor& keys, const Hisa& hisa,
                         const Tensor& sets) = 0;

  // How many members two sets of every row have in common; i32 [rows, k] each, ascending.
  virtual std::vector<std::int32_t> common_counts(const Tensor& a, const Tensor& b) = 0;

  // Attention over the selected candidates (over all of them, at least one per row, if `sets` is
  // empty), every head with the same keys and values, as MLA has them in absorbed form:
  //   out[t, h] = sum_u softmax_u(scale * queries[t, h] . keys[u]) values[u]
  // queries of keys.cols() and out of values.cols() wide heads; keys and values [key_rows, ...].
  // With sinks, f32 [1, heads], the softmax of head h has one more logit, sinks[h], which is not
  // scaled and has no value.
  virtual void sparse_attention(const RowLayout& rows, const Heads& queries,
                                const RowLayout& key_rows, const Tensor& keys, const Tensor& values,
                                const Tensor& sets, float scale, const Heads& out,
                                const Tensor& sinks = {}) = 0;

  // The same over the keys of a window and entries, with sinks, f32 [1, heads]. `out` has heads as
  // wide as the keys.
  virtual void window_attention(const RowLayout& rows, const Heads& queries, const WindowKeys& keys,
                                float scale, const Heads& out, const Tensor& sinks) = 0;

  // Entries of consecutive positions: entry e of a sequence is, for each column c, a mean of the
  // values of its r positions whose weights are the softmax over these positions of gate + bias.
  // x [rows, 2n], rows of all positions: n values, then n gates; bias f32 [r, n]; out [entries, w],
  // of x's type or f32.
  // If n = 2w, entries overlap: columns w + c of the entry's own positions, and columns c of the r
  // positions before them, if there are any, are weighed together.
  virtual void pool_entries(const RowLayout& rows, const Tensor& x, const Tensor& bias,
                            const RowLayout& entry_rows, const Tensor& out) = 0;

  // Decode: `rows` has one row per sequence, its last position, and no empty segment; the keys of
  // segment s, those of the row itself included, are in the pages that row s of `tables` names
  // (backend/paged_cache.h). What a row gets depends on nothing else in the batch.

  // What index_topk() multiplies: pages of the indexer's keys, `width` numbers each.
  virtual PageFormat index_page_format(std::int64_t width) const {
    return {PageLayout::plain, index_activation(), width};
  }

  // Writes x [rows, width] to the places of its rows, of which a segment may have several here.
  virtual void write_pages(const RowLayout& rows, const Tensor& x, const Tensor& tables,
                           const PagedCache& cache) = 0;

  // index_topk() over pages in index_page_format(). A row with fewer candidates than k gets all of
  // them, then -1. On a GPU scores have the bits of index_topk().
  virtual void paged_topk(const RowLayout& rows, const Tensor& queries, const Tensor& head_weights,
                          const Tensor& tables, const PagedCache& cache, const Tensor& sets) = 0;

  // sparse_attention() over pages, whose first out.width numbers are the values. `sets` as
  // paged_topk() writes them: the first min(k, candidates) members of a row count.
  virtual void paged_attention(const RowLayout& rows, const Heads& queries, const Tensor& tables,
                               const PagedCache& cache, const Tensor& sets, float scale,
                               const Heads& out, const Tensor& sinks = {}) = 0;

  // Exact attention over all candidates, at least one per row, every head with keys and values of
  // its own, as MLA has them in expanded form. Positions of a segment are consecutive.
  //   out[t, h] = sum_u softmax_u(scale * (queries[t, h] . [keys.nope[u, h] | keys.rope[u]]))
  //               keys.values[u, h]
  // Results as wide as keys.values; sinks as in sparse_attention().
  virtual void causal_attention(const RowLayout& rows, const Heads& queries,
                                const RowLayout& key_rows, const ExpandedKeys& keys, float scale,
                                const Heads& out, const Tensor& sinks = {}) = 0;

  // out += down(silu(gate(x)) * up(x)); gate_up [2 * I, H] holds gate rows, then up rows. `limit`
  // clamps gate and up (kNoLimit).
  virtual void gated_mlp(const RowLayout& rows, const LinearInput& x, const Tensor& gate_up,
                         const Tensor& down, const Tensor& out, float limit = kNoLimit) = 0;

  // Chooses experts from logits [rows, E]; bias [1, E] orders the choice, it does not enter the
  // weights. Ties go to the lower expert.
  virtual Routing route(const RowLayout& rows, const Tensor& logits, const Tensor& bias,
                        const RouterRule& rule) = 0;

  // The weights of experts that are chosen already, i32 [rows, P] of different ones in each row.
  virtual Routing weigh_experts(const RowLayout& rows, const Tensor& logits, const Tensor& experts,
                                const RouterRule& rule) = 0;

  // out += sum over the row's experts of weight * MLP_expert(x), `limit` as in gated_mlp().
  virtual void experts(const RowLayout& rows, const LinearInput& x, const Routing& routing,
                       const ExpertWeights& weights, const Tensor& out, float limit = kNoLimit) = 0;

  // Negative log-likelihood of targets (i32 [rows, 1]; rows with a negative one are skipped) under
  // x lm_head^T: the sum over each segment, in float64. Logits are never held for all rows.
  virtual std::vector<double> next_token_loss(const RowLayout& rows, const Tensor& x,
                                              const Tensor& lm_head, const Tensor& targets) = 0;

  // Result i is how rows of xs[i] differ from those of `reference` (all [rows, H]) under
  // x lm_head^T, with targets as above. The reference's logits are computed once for all xs. Logits
  // are never held for all rows, and of at most one of the xs at a time.
  virtual std::vector<TokenComparison> compare_next_tokens(const RowLayout& rows,
                                                           const Tensor& reference,
                                                           std::span<const Tensor> xs,
                                                           const Tensor& lm_head,
                                                           const Tensor& targets) = 0;

  // |A ∩ B| summed over the queries of each bucket, for every pair of layers (steps allowed): int64
  // [buckets, L, L], symmetric. sets[l] is layer l's i32 [rows, K], ascending in each row, at most
  // the row's position; bucket b holds positions below bucket_ends[b] (ascending, the last one
  // above every position).
  virtual std::vector<std::int64_t> overlap_counts(const RowLayout& rows,
                                                   const std::vector<Tensor>& sets,
                                                   std::span<const std::int64_t> bucket_ends) = 0;

  // What the sets of queries of the same sequence have in common, in one layer: int64 [buckets,
  // distances + groups]. Row i of a segment adds |A ∩ B| of its set and that of row i - distance
  // (>= 1) to the column of each distance that it has. The last row of a group adds the size of the
  // group's union; groups are that many (>= 1) consecutive rows, from the first row of the segment
  // on, and only whole ones count. The row that adds decides the bucket. sets i32 [rows, K], no
  // repetitions in a row, at most the row's position; bucket_ends as above; at most
  // kMostNeighborColumns columns.
  virtual std::vector<std::int64_t> neighbor_counts(const RowLayout& rows, const Tensor& sets,
                                                    std::span<const std::int64_t> distances,
                                                    std::span<const std::int64_t> groups,
                                                    std::span<const std::int64_t> bucket_ends) = 0;

  // Training of indexers (docs/distillation.md). If `sets` (i32 [rows, K], ascending) is not empty,
  // only the candidates in it count, and "candidate i" is sets[t, i]. Positions of a segment are
  // consecutive here. A row may have no candidates: nothing is written to its `sums`, its
  // divergence and its gradients are 0. Gradients are f32.

  // sums[t, i] += weight * (1 / A) * sum_h softmax_i(scale * queries[t, h] . keys[candidate i]):
  // the attention distribution averaged over heads, for the operands of sparse_attention. Columns
  // of `sums` beyond a row's candidates are not written.
  virtual void mean_attention(const RowLayout& rows, const Heads& queries,
                              const RowLayout& key_rows, const Tensor& keys, const Tensor& sets,
                              float scale, float weight, const Tensor& sums) = 0;

  // The loss of an indexer with q = softmax of its scores over the candidates: row_weight * sum_t
  // KL(p_t || q_t), p being the target. Writes the gradients, and KL(p_t || q_t) in nats, without
  // row_weight, to divergences, f32 [rows, 1]. Scratch is [rows, candidates] at most.
  virtual void distill_indexer(const RowLayout& rows, const IndexScores& scores,
                               const RowLayout& key_rows, const Tensor& sets,
                               const IndexTarget& target, float row_weight,
                               const IndexGradients& gradients, const Tensor& divergences) = 0;

  // gradient += d_out^T x: of the weight of linear(). x activation() [rows, in], d_out f32
  // [rows, out], gradient [out, in].
  virtual void linear_backward(const RowLayout& rows, const Tensor& x, const Tensor& d_out,
                               const Tensor& gradient) = 0;

  // Backward of layer_norm() with input x, activation() [rows, n]: replaces d_out, f32 [rows, n],
  // by the gradient of x and adds to d_weight and d_bias, [1, n].
  virtual void layer_norm_backward(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                                   float eps, const Tensor& d_out, const Tensor& d_weight,
                                   const Tensor& d_bias) = 0;

  // out += x; f32 of equal shapes.
  virtual void add(const Tensor& x, const Tensor& out) = 0;
  virtual void fill_zero(const Tensor& tensor) = 0;
  // out = x, f32 without gaps, rounded to the type of `out`, of as many elements.
  virtual void convert(const Tensor& x, const Tensor& out) = 0;

  // The sum of squares of every row of an f32 tensor, in float64.
  virtual std::vector<double> squared_norms(const Tensor& x) = 0;
  // Updates parameters and moments from gradients; all f32 [rows, n] without gaps.
  virtual void adam(const AdamStep& step, const Tensor& gradients, const Tensor& mean,
                    const Tensor& variance, const Tensor& parameters) = 0;
};

}  // namespace indexcache
