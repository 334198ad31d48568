// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.h"

#include "model/rope.h"

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

// `count` heads from `first` on.
Heads some_heads(const Heads& heads, std::int64_t first, std::int64_t count) {
  const std::int64_t column = first * heads.stride;
  return {heads.tensor.columns(column, heads.tensor.cols() - column), count, heads.stride,
          heads.width};
}

// The part of `key_rows` that holds all candidates of `rows`.
struct SeenKeys {
  std::int64_t first_row = 0;
  RowLayout rows;  // first_row counts from the beginning of the part
};

SeenKeys seen_keys(const RowLayout& rows, const RowLayout& key_rows) {
  SeenKeys seen;
  bool any = false;
  for (std::size_t s = 0; s < rows.segments.size(); ++s) {
    Segment keys = key_rows.segments[s];
    if (rows.segments[s].rows == 0) {
      keys.first_row = keys.rows = 0;
    } else {
      if (!std::exchange(any, true)) seen.first_row = keys.first_row;
      keys.first_row -= seen.first_row;
      keys.rows = keys.candidates(rows.segments[s].last_position());
      seen.rows.total = keys.first_row + keys.rows;
    }
    seen.rows.segments.push_back(keys);
  }
  return seen;
}

}  // namespace

Decoder::Decoder(const ModelConfig& config, Backend& backend, std::int64_t positions)
    : config_(config), backend_(backend) {
  RopeTable table = make_rope_table(config, positions);
  const std::int64_t pairs = config.qk_rope_head_dim / 2;
  cosines_ = backend.upload(std::move(table.cosines), positions, pairs);
  sines_ = backend.upload(std::move(table.sines), positions, pairs);
  if (config.compressed) upload_entry_tables(positions);
}

Tensor Decoder::activations(std::int64_t rows, std::int64_t cols) const {
  return backend_.allocate(rows, cols, backend_.activation());
}

Tensor Decoder::embed(const Tensor& table, const Tensor& tokens, Memory kind) {
  Tensor hidden = backend_.allocate(tokens.rows(), config_.residual_width(), DType::f32, kind);
  for (std::int64_t first = 0; first < hidden.cols(); first += config_.hidden) {
    backend_.embed(tokens, table, hidden.columns(first, config_.hidden));
  }
  return hidden;
}

Tensor Decoder::normalized(const Tensor& weight, const RowLayout& rows, const Tensor& x) {
  Tensor out = activations(rows.total, config_.hidden);
  backend_.rms_norm(rows, x, weight, config_.rms_norm_eps, out);
  return out;
}

SublayerInput Decoder::read_residual(const InputWeights& weights, const RowLayout& rows,
                                     const Tensor& hidden) {
  SublayerInput in;
  Tensor read = hidden;  // or the mixture of its streams
  if (config_.streams) {
    read = backend_.allocate(rows.total, config_.hidden);
    in.stream_factors = backend_.allocate(rows.total, config_.streams->coefficients());
    backend_.read_streams(rows, hidden, *weights.streams, *config_.streams, read,
                          in.stream_factors);
  }
  if (weights.gate) {
    const Tensor x = normalized(weights.norm, rows, read);
    gate_norm(*weights.gate, rows, x);
    in.x = backend_.linear_input(x);
  } else {
    in.x = backend_.normalized_input(rows, read, weights.norm, config_.rms_norm_eps,
                                     activations(rows.total, config_.hidden));
  }
  return in;
}

void Decoder::gate_norm(const NormGate& gate, const RowLayout& rows, const Tensor& x) {
  const Tensor narrow = activations(rows.total, gate.down.rows());
  const Tensor wide = activations(rows.total, x.cols());
  backend_.linear(rows, x, gate.down, narrow);
  backend_.sigmoid_gate(rows, one_head(narrow), one_head(narrow));  // SiLU
  backend_.linear(rows, narrow, gate.up, wide);
  backend_.sigmoid_gate(rows, one_head(wide), one_head(x));
}

void Decoder::add_result(const RowLayout& rows, const Tensor& stream_factors, const Tensor& hidden,
                         const std::function<void(const Tensor& out)>& compute) {
  if (!config_.streams) return compute(hidden);
  const Tensor result = backend_.allocate(rows.total, config_.hidden);
  backend_.fill_zero(result);
  compute(result);
  backend_.write_streams(rows, result, stream_factors, hidden);
}

Tensor Decoder::head_input(const OuterWeights& weights, const RowLayout& rows,
                           const Tensor& hidden) {
  if (!config_.streams) return normalized(weights.final_norm, rows, hidden);
  const Tensor mixture = backend_.allocate(rows.total, config_.hidden);
  backend_.read_streams(rows, hidden, *weights.head_streams, *config_.streams, mixture, Tensor());
  return normalized(weights.final_norm, rows, mixture);
}

KeyRows Decoder::allocate_keys(const LayerWeights& w, std::int64_t rows, bool with_index) const {
  const auto allocate = [&](std::int64_t cols, DType dtype) {
    return backend_.allocate(rows, cols, dtype, Memory::keys);
  };
  KeyRows keys;
  keys.latents = allocate(config_.latent_width(), backend_.activation());
  if (w.entries) {
    const std::int64_t indexed = with_index ? w.indexer->entries->projections.rows() : 0;
    keys.projected = allocate(w.entries->projections.rows() + indexed, backend_.activation());
  } else if (with_index) {
    keys.index_keys = allocate(config_.index_head_dim, backend_.index_activation());
  }
  return keys;
}

void Decoder::copy_keys(const RowLayout& from_rows, const KeyRows& from, const RowLayout& to_rows,
                        const KeyRows& to) {
  const auto copy = [&](const Tensor& x, const Tensor& out) {
    if (!out.empty()) backend_.copy_rows(from_rows, x.columns(0, out.cols()), to_rows, out);
  };
  copy(from.latents, to.latents);
  copy(from.projected, to.projected);
  const Device::CountAs purpose(backend_, Component::index_key_writes);
  copy(from.index_keys, to.index_keys);
}

SublayerInput Decoder::attention_input(const LayerWeights& w, const RowLayout& rows,
                                       const Tensor& hidden) {
  return read_residual(w.attention_input, rows, hidden);
}

void Decoder::keys(const LayerWeights& w, const RowLayout& rows, const SublayerInput& in,
                   const KeyRows& out) {
  const ModelConfig& c = config_;
  const LinearInput& x = in.x;
  backend_.linear(rows, x, w.kv_a, out.latents);
  if (c.compressed) return finish_keys(w, rows, x, out);
  const Tensor latent = out.latents.columns(0, c.kv_lora_rank);
  const Heads k_pe{out.latents.columns(c.kv_lora_rank, c.qk_rope_head_dim), 1, 0,
                   c.qk_rope_head_dim};
  backend_.rms_norm(rows, latent, w.kv_a_norm, c.mla_norm_eps, latent);
  backend_.rope(rows, k_pe, cosines_, sines_, c.mla_rope, k_pe);
  if (!out.index_keys.empty()) index_keys(*w.indexer, rows, x, out.index_keys, out.index_keys);
}

void Decoder::index_keys(const IndexerWeights& w, const RowLayout& rows, const LinearInput& x,
                         const Tensor& projected, const Tensor& keys) {
  const Device::CountAs purpose(backend_, Component::indexer_projections);
  backend_.linear(rows, x, w.wk, projected);
  backend_.layer_norm(rows, projected, w.k_norm, w.k_norm_bias, config_.index_norm_eps, keys);
  const Heads rotated = index_heads(keys, 1);
  backend_.rope(rows, rotated, cosines_, sines_, config_.index_rope, rotated);
}

QueryRows Decoder::queries(const LayerWeights& w, const RowLayout& rows, SublayerInput input) {
  const ModelConfig& c = config_;
  QueryRows in;
  in.input = std::move(input);
  in.q_latent = query_latent(w, rows, in.input.x);
  ProjectedQueries projected = c.compressed ? rotated_queries(w, rows, in.q_latent)
                                            : project_queries(w.q_b, w.k_absorb, rows, in.q_latent);
  in.queries = std::move(projected.queries);
  in.gates = std::move(projected.gates);
  if (c.output_gate == OutputGate::input) {
    const Tensor gates = activations(rows.total, c.heads * c.v_head_dim);
    backend_.linear(rows, in.input.x, w.output_gate, gates);
    in.gates = {gates, c.heads, c.v_head_dim, c.v_head_dim};
  }
  return in;
}

LinearInput Decoder::query_latent(const LayerWeights& w, const RowLayout& rows,
                                  const LinearInput& x) {
  const std::int64_t rank = config_.q_lora_rank;
  const Tensor all = activations(rows.total, config_.q_latent_width());
  // The latent itself stays, after the normalized one, if q_b reads both.
  const Tensor latent = all.columns(0, rank), raw = all.columns(all.cols() - rank, rank);
  backend_.linear(rows, x, w.q_a, raw);
  if (all.cols() == rank) {
    return backend_.normalized_input(rows, raw, w.q_a_norm, config_.mla_norm_eps, latent);
  }
  backend_.rms_norm(rows, raw, w.q_a_norm, config_.mla_norm_eps, latent);
  return backend_.linear_input(all);
}

LinearInput Decoder::index_latent(const LinearInput& q_latent) const {
  return q_latent.columns(0, config_.q_lora_rank);
}

ProjectedQueries Decoder::project_queries(const Tensor& q_b, const Tensor& k_absorb,
                                          const RowLayout& rows, const LinearInput& q_latent) {
  const ModelConfig& c = config_;
  const std::int64_t stride = c.q_head_rows();
  const Tensor q = activations(rows.total, c.heads * stride);
  backend_.linear(rows, q_latent, q_b, q);
  const auto part = [&](std::int64_t first, std::int64_t width) {
    return Heads{q.columns(first, q.cols() - first), c.heads, stride, width};
  };
  const Heads q_nope = part(0, c.qk_nope_head_dim);
  const Heads q_pe = part(c.qk_nope_head_dim, c.qk_rope_head_dim);
  const Heads gates =
      c.output_gate == OutputGate::queries ? part(c.qk_head_dim(), c.v_head_dim) : Heads{};
  if (c.dense) {
    backend_.rope(rows, q_pe, cosines_, sines_, c.mla_rope, q_pe);
    return {part(0, c.qk_head_dim()), gates};
  }
  const Tensor absorbed = activations(rows.total, c.heads * c.latent_width());
  const Heads absorbed_nope{absorbed, c.heads, c.latent_width(), c.kv_lora_rank};
  const Heads absorbed_pe{absorbed.columns(c.kv_lora_rank, absorbed.cols() - c.kv_lora_rank),
                          c.heads, c.latent_width(), c.qk_rope_head_dim};
  backend_.head_linear(rows, q_nope, k_absorb, absorbed_nope);
  backend_.rope(rows, q_pe, cosines_, sines_, c.mla_rope, absorbed_pe);
  return {{absorbed, c.heads, c.latent_width(), c.latent_width()}, gates};
}

// MLA rotates the last dr components, the indexer of most families the first.
Heads Decoder::index_heads(const Tensor& tensor, std::int64_t heads) const {
  const std::int64_t first =
      config_.index_rope_last ? config_.index_head_dim - config_.qk_rope_head_dim : 0;
  return {tensor.columns(first, tensor.cols() - first), heads, config_.index_head_dim,
          config_.qk_rope_head_dim};
}

void Decoder::select(const LayerWeights& w, const RowLayout& rows, const QueryRows& in,
                     const RowLayout& key_rows, const Tensor& keys, const Tensor& sets) {
  const IndexQueries asked = index_queries(*w.indexer, rows, in.q_latent, in.input.x);
  select(config_.indexer, rows, asked, key_rows, keys, sets);
}

void Decoder::select(const IndexerMethod& method, const RowLayout& rows, const IndexQueries& asked,
                     const RowLayout& key_rows, const Tensor& keys, const Tensor& sets) {
  if (method) {
    backend_.hisa_topk(rows, asked.queries, asked.head_weights, key_rows, keys, *method, sets);
  } else {
    backend_.index_topk(rows, asked.queries, asked.head_weights, key_rows, keys, sets);
  }
}

IndexQueries Decoder::index_queries(const IndexerWeights& w, const RowLayout& rows,
                                    const LinearInput& q_latent, const LinearInput& x) {
  const Device::CountAs purpose(backend_, Component::indexer_projections);
  const std::int64_t width = config_.index_heads * config_.index_head_dim;
  IndexQueries out{backend_.allocate(rows.total, width, backend_.index_activation()),
                   backend_.allocate(rows.total, config_.index_heads)};
  backend_.linear(rows, index_latent(q_latent), w.wq_b, out.queries);
  const Heads rotated = index_heads(out.queries, config_.index_heads);
  const Rotation table = rotation_of(w.entries.has_value());
  backend_.rope(rows, rotated, table.cosines, table.sines, config_.index_rope, rotated);
  backend_.linear(rows, x, w.weights_proj, out.head_weights);
  return out;
}

void Decoder::rotate_index_gradients(const RowLayout& rows, const Tensor& gradients) {
  if (negative_sines_.empty()) {
    std::vector<float> sines = backend_.download(sines_);
    for (float& sine : sines) sine = -sine;
    negative_sines_ = backend_.upload(std::move(sines), sines_.rows(), sines_.cols());
  }
  const Heads heads = index_heads(gradients, gradients.cols() / config_.index_head_dim);
  backend_.rope(rows, heads, cosines_, negative_sines_, config_.index_rope, heads);
}

void Decoder::backward_index_keys(const IndexerWeights& w, const RowLayout& rows, const Tensor& x,
                                  const Tensor& projected, const Tensor& d_keys,
                                  const IndexerWeights& gradients) {
  rotate_index_gradients(rows, d_keys);
  backend_.layer_norm_backward(rows, projected, w.k_norm, config_.index_norm_eps, d_keys,
                               gradients.k_norm, gradients.k_norm_bias);
  backend_.linear_backward(rows, x, d_keys, gradients.wk);
}

void Decoder::backward_index_queries(const RowLayout& rows, const Tensor& q_latent, const Tensor& x,
                                     const IndexQueries& d_out, const IndexerWeights& gradients) {
  rotate_index_gradients(rows, d_out.queries);
  backend_.linear_backward(rows, index_latent(q_latent).plain, d_out.queries, gradients.wq_b);
  backend_.linear_backward(rows, x, d_out.head_weights, gradients.weights_proj);
}

Heads Decoder::allocate_heads(const RowLayout& rows, std::int64_t width) const {
  return {activations(rows.total, config_.heads * width), config_.heads, width, width};
}

void Decoder::attend(const LayerWeights& w, const RowLayout& rows, const QueryRows& in,
                     const RowLayout& key_rows, const KeyRows& keys, const Tensor& sets,
                     const Tensor& hidden) {
  if (config_.compressed) return attend_window(w, rows, in, key_rows, keys, sets, hidden);
  const Heads values = allocate_heads(rows, config_.v_head_dim);
  if (config_.dense) {
    attend_expanded(w, rows, in.queries, key_rows, keys.latents, values);
  } else {
    attend_absorbed(w, rows, in.queries, key_rows, keys.latents, sets, values);
  }
  add_attention(w, rows, in, values, hidden);
}

void Decoder::add_attention(const LayerWeights& w, const RowLayout& rows, const QueryRows& in,
                            const Heads& values, const Tensor& hidden) {
  if (!in.gates.tensor.empty()) backend_.sigmoid_gate(rows, in.gates, values);
  add_result(rows, in.input.stream_factors, hidden, [&](const Tensor& out) {
    backend_.linear(rows, values.tensor, w.o, out, Store::accumulate);
  });
}

void Decoder::attend_absorbed(const LayerWeights& w, const RowLayout& rows, const Heads& queries,
                              const RowLayout& key_rows, const Tensor& latents, const Tensor& sets,
                              const Heads& out) {
  const ModelConfig& c = config_;
  const Heads mixed = allocate_heads(rows, c.kv_lora_rank);
  backend_.sparse_attention(rows, queries, key_rows, latents, latents.columns(0, c.kv_lora_rank),
                            sets, c.softmax_scale(), mixed, w.sinks);
  backend_.head_linear(rows, mixed, w.v_absorb, out);
}

void Decoder::attend_expanded(const LayerWeights& w, const RowLayout& rows, const Heads& queries,
                              const RowLayout& key_rows, const Tensor& latents, const Heads& out) {
  const ModelConfig& c = config_;
  const SeenKeys seen = seen_keys(rows, key_rows);
  const std::int64_t keys = seen.rows.total, rank = c.kv_lora_rank;
  if (keys == 0) return;
  const Tensor own = latents.row_range(seen.first_row, keys);
  const Tensor latent = own.columns(0, rank), rotated = own.columns(rank, c.qk_rope_head_dim);
  const std::int64_t most = heads_expanded_at_once(c);
  const Tensor nope = activations(keys, most * c.qk_nope_head_dim);
  const Tensor values = activations(keys, most * c.v_head_dim);
  for (std::int64_t head = 0; head < c.heads; head += most) {
    const std::int64_t count = std::min(most, c.heads - head);
    const Heads nope_heads{nope, count, c.qk_nope_head_dim, c.qk_nope_head_dim};
    const Heads value_heads{values, count, c.v_head_dim, c.v_head_dim};
    backend_.expand_heads(seen.rows, latent, w.k_absorb.row_range(head * rank, count * rank),
                          nope_heads);
    backend_.linear(seen.rows, latent,
                    w.v_absorb.row_range(head * c.v_head_dim, count * c.v_head_dim),
                    values.columns(0, count * c.v_head_dim));
    backend_.causal_attention(rows, some_heads(queries, head, count), seen.rows,
                              {nope_heads, rotated, value_heads}, c.softmax_scale(),
                              some_heads(out, head, count),
                              w.sinks.empty() ? Tensor() : w.sinks.columns(head, count));
  }
}

void Decoder::write_keys(const LayerWeights& w, const RowLayout& rows, const SublayerInput& in,
                         const Tensor& tables, const LayerPages& pages) {
  const KeyRows own = allocate_keys(w, rows.total, !pages.index_keys.empty());
  keys(w, rows, in, own);
  backend_.write_pages(rows, own.latents, tables, pages.latents);
  if (own.index_keys.empty()) return;
  const Device::CountAs purpose(backend_, Component::index_key_writes);
  backend_.write_pages(rows, own.index_keys, tables, pages.index_keys);
}

void Decoder::select_paged(const LayerWeights& w, const RowLayout& rows, const QueryRows& in,
                           const Tensor& tables, const PagedCache& index_keys, const Tensor& sets) {
  const IndexQueries asked = index_queries(*w.indexer, rows, in.q_latent, in.input.x);
  backend_.paged_topk(rows, asked.queries, asked.head_weights, tables, index_keys, sets);
}

void Decoder::attend_paged(const LayerWeights& w, const RowLayout& rows, const QueryRows& in,
                           const Tensor& tables, const PagedCache& latents, const Tensor& sets,
                           const Tensor& hidden) {
  const Heads mixed = allocate_heads(rows, config_.kv_lora_rank);
  const Heads values = allocate_heads(rows, config_.v_head_dim);
  backend_.paged_attention(rows, in.queries, tables, latents, sets, config_.softmax_scale(), mixed,
                           w.sinks);
  backend_.head_linear(rows, mixed, w.v_absorb, values);
  add_attention(w, rows, in, values, hidden);
}

void Decoder::step(WeightSource& weights, const Pattern& pattern, const RowLayout& rows,
                   const Tensor& tables, std::span<const LayerPages> caches, const Tensor& hidden) {
  Tensor sets;
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    const LayerWeights& w = weights.layer(static_cast<std::int64_t>(layer));
    LayerPages pages = caches[layer % caches.size()];
    const bool full = pattern.is_full(layer);
    if (!full) pages.index_keys = {};
    {
      SublayerInput input = attention_input(w, rows, hidden);
      write_keys(w, rows, input, tables, pages);
      const QueryRows in = queries(w, rows, std::move(input));
      if (full) {
        sets = backend_.allocate(rows.total, config_.index_topk, DType::i32, Memory::index_sets);
        select_paged(w, rows, in, tables, pages.index_keys, sets);
      }
      attend_paged(w, rows, in, tables, pages.latents, sets, hidden);
    }
    feed_forward(w, rows, Tensor(), hidden);  // no table chooses experts
  }
}

Routing Decoder::route(const MoeWeights& w, const RowLayout& rows, const Tensor& tokens,
                       const LinearInput& x) {
  const Tensor logits = backend_.allocate(rows.total, config_.routed_experts);
  backend_.linear(rows, x, w.gate, logits);
  if (w.hash_table.empty()) {
    return backend_.route(rows, logits, w.correction_bias, config_.router);
  }
  const Tensor experts = backend_.allocate(rows.total, config_.router.experts_used, DType::i32);
  backend_.embed(tokens, w.hash_table, experts);
  return backend_.weigh_experts(rows, logits, experts, config_.router);
}

void Decoder::feed_forward(const LayerWeights& w, const RowLayout& rows, const Tensor& tokens,
                           const Tensor& hidden) {
  const SublayerInput in = read_residual(w.mlp_input, rows, hidden);
  const LinearInput& x = in.x;
  add_result(rows, in.stream_factors, hidden, [&](const Tensor& out) {
    const Device::CountAs purpose(backend_, Component::experts);
    if (w.moe) {
      backend_.experts(rows, x, route(*w.moe, rows, tokens, x), w.moe->experts, out,
                       config_.expert_limit);
    }
    if (w.mlp) {
      backend_.gated_mlp(rows, x, w.mlp->gate_up, w.mlp->down, out, config_.shared_limit);
    }
  });
}

std::vector<double> Decoder::loss(const WeightSource& weights, const RowLayout& rows,
                                  const Tensor& hidden, const Tensor& targets) {
  const Device::CountAs purpose(backend_, Component::loss);
  const Tensor x = head_input(weights.outer(), rows, hidden);
  return backend_.next_token_loss(rows, x, weights.lm_head(), targets);
}

std::vector<TokenComparison> Decoder::compare(const WeightSource& weights, const RowLayout& rows,
                                              const Tensor& reference_hidden,
                                              std::span<const Tensor> hidden,
                                              const Tensor& targets) {
  const Tensor reference = head_input(weights.outer(), rows, reference_hidden);
  std::vector<Tensor> xs;
  for (const Tensor& tensor : hidden) xs.push_back(head_input(weights.outer(), rows, tensor));
  return backend_.compare_next_tokens(rows, reference, xs, weights.lm_head(), targets);
}

}  // namespace indexcache
