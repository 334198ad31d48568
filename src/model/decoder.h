// SPDX-License-Identifier: Apache-2.0
// The DSA forward pass, written once over Backend: pre-norm blocks of MLA over the positions that
// the lightning indexer selects, and an MLP or experts (docs/numerics.md).
//
// A layer is cut into steps, so that the sweep can run what several streams have in common once,
// and take rows in chunks: keys of all rows first, then queries -> (select) -> attend ->
// feed_forward for some rows at a time.
#pragma once

#include "backend/backend.h"
#include "core/pattern.h"
#include "model/config.h"
#include "model/weights.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace indexcache {

// What later rows need of a row.
struct KeyRows {
  Tensor latents;     // [rows, rk + dr]: normalized kv latent, rotated key part last
  Tensor index_keys;  // [rows, Di]; empty where no indexer runs
  // Of compressed attention: what entries are pooled from, [rows, 2n], and after it what the
  // indexer's are, if it runs; and once all rows are there, the entries. Then index_keys are
  // entries, too.
  Tensor projected = {};
  RowLayout entry_rows = {};
  Tensor entries = {};  // [entries, rk + dr]

  // The rows of index_keys; `rows` are those of latents.
  const RowLayout& candidate_rows(const RowLayout& rows) const {
    return entries.empty() ? rows : entry_rows;
  }
};

// The keys of a layer of sequences that are being decoded.
struct LayerPages {
  PagedCache latents;  // rk + dr numbers per position
  PagedCache
      index_keys;  // Di numbers, in Backend::index_page_format(); empty where no indexer runs
};

// What a sublayer reads of the residual.
struct SublayerInput {
  LinearInput x;  // [rows, H] normalized
  // f32 [rows, StreamRule::coefficients()] for what is added to the streams; empty without streams.
  Tensor stream_factors;
};

// What a row asks of the keys.
struct QueryRows {
  SublayerInput input;
  LinearInput q_latent;  // [rows, ModelConfig::q_latent_width()], the normalized one first
  // A heads of rk + dr: absorbed query, rotated part last; of dn + dr, not absorbed, if attention
  // is dense.
  Heads queries;
  Heads gates;  // A heads of dv, before the sigmoid; no tensor if nothing gates the output
};

// What q_b makes of a latent.
struct ProjectedQueries {
  Heads queries, gates;  // as in QueryRows
};

// What a row asks of the indexer's keys.
struct IndexQueries {
  Tensor queries;       // index_activation() [rows, Ni * Di], rotated; gradients of them: f32
  Tensor head_weights;  // f32 [rows, Ni]
};

class Decoder {
 public:
  // `positions`: the longest sequence that will be seen.
  Decoder(const ModelConfig& config, Backend& backend, std::int64_t positions);

  // Memory for the keys of `rows` rows of a layer, without entries.
  KeyRows allocate_keys(const LayerWeights& weights, std::int64_t rows, bool with_index) const;

  // The residual before the first layer, f32 [rows, residual_width()]; tokens i32 [rows, 1].
  Tensor embed(const Tensor& table, const Tensor& tokens, Memory kind);

  // What keys() and queries() read of the residual's rows.
  SublayerInput attention_input(const LayerWeights& weights, const RowLayout& rows,
                                const Tensor& hidden);

  // Writes the keys of rows; those of the indexer need weights.indexer, unless `out` has no place
  // for them.
  void keys(const LayerWeights& weights, const RowLayout& rows, const SublayerInput& in,
            const KeyRows& out);

  // Copies keys of some rows to those of the same sequences and positions; of `from` only what `to`
  // has a place for.
  void copy_keys(const RowLayout& from_rows, const KeyRows& from, const RowLayout& to_rows,
                 const KeyRows& to);

  // Makes the entries of keys that hold all positions of each sequence, from the first one on.
  void pool_entries(const LayerWeights& weights, const RowLayout& key_rows, KeyRows& keys);

  QueryRows queries(const LayerWeights& weights, const RowLayout& rows, SublayerInput in);

  // The lightning indexer's top-k of every row into sets, i32 [rows, K], by the model's method.
  // `keys` are the indexer's, in layout `key_rows`: all candidates of each sequence. Needs
  // weights.indexer.
  void select(const LayerWeights& weights, const RowLayout& rows, const QueryRows& in,
              const RowLayout& key_rows, const Tensor& keys, const Tensor& sets);

  // The same by any method, for what was asked.
  void select(const IndexerMethod& method, const RowLayout& rows, const IndexQueries& asked,
              const RowLayout& key_rows, const Tensor& keys, const Tensor& sets);

  // The steps of keys(), queries() and select() by themselves, from what a pass has kept:
  // x [rows, H] is the normalized input, and q_latent as in QueryRows.
  ProjectedQueries project_queries(const Tensor& q_b, const Tensor& k_absorb, const RowLayout& rows,
                                   const LinearInput& q_latent);
  // `projected`, before LayerNorm, is what the backward pass reads; it may be `keys`.
  void index_keys(const IndexerWeights& weights, const RowLayout& rows, const LinearInput& x,
                  const Tensor& projected, const Tensor& keys);
  IndexQueries index_queries(const IndexerWeights& weights, const RowLayout& rows,
                             const LinearInput& q_latent, const LinearInput& x);

  // Backward of the last two: add to the gradients of their parameters, f32, and overwrite d_keys
  // and d_out.queries.
  void backward_index_keys(const IndexerWeights& weights, const RowLayout& rows, const Tensor& x,
                           const Tensor& projected, const Tensor& d_keys,
                           const IndexerWeights& gradients);
  void backward_index_queries(const RowLayout& rows, const Tensor& q_latent, const Tensor& x,
                              const IndexQueries& d_out, const IndexerWeights& gradients);

  // hidden += attention over `sets` (over all candidates where `sets` is empty). `keys` holds all
  // positions of each sequence in layout `key_rows`, and their entries. Dense attention
  // (ModelConfig::dense) expands the keys that the rows see, for some heads at a time, and holds
  // expanded_row_bytes() for each.
  void attend(const LayerWeights& weights, const RowLayout& rows, const QueryRows& in,
              const RowLayout& key_rows, const KeyRows& keys, const Tensor& sets,
              const Tensor& hidden);

  // The same steps of a decoder, one row per sequence as Backend's paged operations have them:
  // writes the keys of rows to their pages,
  void write_keys(const LayerWeights& weights, const RowLayout& rows, const SublayerInput& in,
                  const Tensor& tables, const LayerPages& pages);
  // selects exactly among the keys of each sequence,
  void select_paged(const LayerWeights& weights, const RowLayout& rows, const QueryRows& in,
                    const Tensor& tables, const PagedCache& index_keys, const Tensor& sets);
  // hidden += attention over `sets`, as select_paged() wrote them.
  void attend_paged(const LayerWeights& weights, const RowLayout& rows, const QueryRows& in,
                    const Tensor& tables, const PagedCache& latents, const Tensor& sets,
                    const Tensor& hidden);

  // A whole step: takes the residual of one row per sequence through all layers under a pattern.
  // Layer l has caches l modulo their number, with index keys if it is F in any pattern.
  void step(WeightSource& weights, const Pattern& pattern, const RowLayout& rows,
            const Tensor& tables, std::span<const LayerPages> caches, const Tensor& hidden);

  // hidden += MLP or experts. tokens i32 [rows, 1] choose experts where the layer has a table.
  void feed_forward(const LayerWeights& weights, const RowLayout& rows, const Tensor& tokens,
                    const Tensor& hidden);

  // Head of the streams, final norm, lm_head and cross-entropy: the sum over each segment.
  std::vector<double> loss(const WeightSource& weights, const RowLayout& rows, const Tensor& hidden,
                           const Tensor& targets);

  // How the predictions of every row differ from those of a reference (Backend's
  // compare_next_tokens), both before the final norm: reference_hidden and each of `hidden` are
  // residuals. Holds compare_row_bytes() per row; cutting rows into chunks (row_chunks) bounds that
  // and does not change a bit.
  std::vector<TokenComparison> compare(const WeightSource& weights, const RowLayout& rows,
                                       const Tensor& reference_hidden,
                                       std::span<const Tensor> hidden, const Tensor& targets);

  // Bytes that the steps of one row hold at once, at most, in addition to the keys,
  // scratch_bytes() and logits_bytes().
  static std::int64_t row_bytes(const ModelConfig& config, const Device& backend);
  // The same of all steps but feed_forward(), and of that one.
  static std::int64_t attend_row_bytes(const ModelConfig& config, const Device& backend);
  static std::int64_t feed_forward_row_bytes(const ModelConfig& config, const Device& backend);
  // Of select(), the only step of a layer that takes logits_bytes().
  static std::int64_t select_row_bytes(const ModelConfig& config, const Device& backend);

  // Bytes of KeyRows per row, entries included, at most.
  static std::int64_t key_row_bytes(const ModelConfig& config, const Device& backend);
  // How many heads dense attention expands at a time, at most: a property of the model.
  static std::int64_t heads_expanded_at_once(const ModelConfig& config);

  // Bytes of the expanded keys and values of a row that dense attention holds at once.
  static std::int64_t expanded_row_bytes(const ModelConfig& config, const Device& backend);

  // Bytes that loss() holds per row in addition to scratch_bytes() and logits_bytes().
  static std::int64_t loss_row_bytes(const ModelConfig& config, const Device& backend);

  // Bytes of the device that compare() holds per row for `count` tensors in `hidden`, at most, in
  // addition to scratch_bytes() and logits_bytes().
  static std::int64_t compare_row_bytes(const ModelConfig& config, const Device& backend,
                                        std::int64_t count);
  // The most tensors in `hidden` for which compare() needs no more memory than a layer.
  static std::int64_t compared_at_once(const ModelConfig& config, const Device& backend);

 private:
  Tensor activations(std::int64_t rows, std::int64_t cols) const;
  Tensor normalized(const Tensor& weight, const RowLayout& rows, const Tensor& x);
  SublayerInput read_residual(const InputWeights& weights, const RowLayout& rows,
                              const Tensor& hidden);
  void gate_norm(const NormGate& gate, const RowLayout& rows, const Tensor& x);
  // Adds the result of a sublayer to the residual: compute(out) adds to out, f32 [rows, H].
  void add_result(const RowLayout& rows, const Tensor& stream_factors, const Tensor& hidden,
                  const std::function<void(const Tensor& out)>& compute);
  Routing route(const MoeWeights& weights, const RowLayout& rows, const Tensor& tokens,
                const LinearInput& x);
  // A heads of `width` numbers.
  Heads allocate_heads(const RowLayout& rows, std::int64_t width) const;
  // hidden += what the layer makes of the attention's results, A heads of dv.
  void add_attention(const LayerWeights& weights, const RowLayout& rows, const QueryRows& in,
                     const Heads& values, const Tensor& hidden);
  // The normalized input of lm_head.
  Tensor head_input(const OuterWeights& weights, const RowLayout& rows, const Tensor& hidden);
  // The two forms of MLA: out are A heads of dv.
  void attend_absorbed(const LayerWeights& weights, const RowLayout& rows, const Heads& queries,
                       const RowLayout& key_rows, const Tensor& latents, const Tensor& sets,
                       const Heads& out);
  void attend_expanded(const LayerWeights& weights, const RowLayout& rows, const Heads& queries,
                       const RowLayout& key_rows, const Tensor& latents, const Heads& out);
  LinearInput query_latent(const LayerWeights& weights, const RowLayout& rows,
                           const LinearInput& x);
  // The part of q_latent that the indexer reads.
  LinearInput index_latent(const LinearInput& q_latent) const;
  Heads index_heads(const Tensor& tensor, std::int64_t heads) const;
  // Steps of compressed attention (compressed_attention.cpp).
  struct Rotation {
    const Tensor& cosines;
    const Tensor& sines;
  };
  Rotation rotation_of(bool with_entries) const;
  // Of keys that are projected: the norm and the rotation, and what entries are pooled from.
  void finish_keys(const LayerWeights& weights, const RowLayout& rows, const LinearInput& x,
                   const KeyRows& out);
  void rotate_last(const RowLayout& rows, const Heads& heads, const Rotation& rotation);
  ProjectedQueries rotated_queries(const LayerWeights& weights, const RowLayout& rows,
                                   const LinearInput& q_latent);
  // Fills `out`, [entries, width].
  void pool(const EntryWeights& weights, const RowLayout& key_rows, const Tensor& projected,
            const RowLayout& entry_rows, const Tensor& out);
  void attend_window(const LayerWeights& weights, const RowLayout& rows, const QueryRows& in,
                     const RowLayout& key_rows, const KeyRows& keys, const Tensor& sets,
                     const Tensor& hidden);
  void upload_entry_tables(std::int64_t positions);

  // The transpose of the indexer's rotation, in place.
  void rotate_index_gradients(const RowLayout& rows, const Tensor& gradients);

  const ModelConfig& config_;
  Backend& backend_;
  Tensor cosines_, sines_;  // [positions, dr / 2]
  Tensor negative_sines_;   // made when the first gradient is rotated, or for compressed attention
  // Of layers with entries, [positions, dr / 2], and the weight of a norm that has none, [1, D].
  Tensor entry_cosines_, entry_sines_, entry_negative_sines_, unit_;
};

}  // namespace indexcache
