// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.h"

#include "model/rope.h"

namespace indexcache {
namespace {

constexpr float kIndexNormEps = 1e-6f;  // the indexer's LayerNorm, whatever the config says

}  // namespace

Decoder::Decoder(const ModelConfig& config, Backend& backend, std::int64_t positions)
    : config_(config), backend_(backend) {
  RopeTable table = make_rope_table(config, positions);
  const std::int64_t pairs = config.qk_rope_head_dim / 2;
  cosines_ = backend.upload(std::move(table.cosines), positions, pairs);
  sines_ = backend.upload(std::move(table.sines), positions, pairs);
}

Projections Decoder::project(const LayerWeights& w, const RowLayout& rows, const Tensor& hidden) {
  const ModelConfig& c = config_;
  Projections in;
  in.x = backend_.allocate(rows.total, c.hidden);
  backend_.rms_norm(rows, hidden, w.input_norm, c.rms_norm_eps, in.x);

  in.q_latent = backend_.allocate(rows.total, c.q_lora_rank);
  backend_.linear(rows, in.x, w.q_a, in.q_latent);
  backend_.rms_norm(rows, in.q_latent, w.q_a_norm, c.mla_norm_eps, in.q_latent);

  const Tensor q = backend_.allocate(rows.total, c.heads * c.qk_head_dim());
  backend_.linear(rows, in.q_latent, w.q_b, q);
  const Heads q_nope{q, c.heads, c.qk_head_dim(), c.qk_nope_head_dim};
  const Heads q_pe{q.columns(c.qk_nope_head_dim, q.cols() - c.qk_nope_head_dim), c.heads,
                   c.qk_head_dim(), c.qk_rope_head_dim};
  const Tensor absorbed = backend_.allocate(rows.total, c.heads * c.latent_width());
  in.queries = {absorbed, c.heads, c.latent_width(), c.latent_width()};
  const Heads absorbed_nope{absorbed, c.heads, c.latent_width(), c.kv_lora_rank};
  const Heads absorbed_pe{absorbed.columns(c.kv_lora_rank, absorbed.cols() - c.kv_lora_rank),
                          c.heads, c.latent_width(), c.qk_rope_head_dim};
  backend_.head_linear(rows, q_nope, w.k_absorb, absorbed_nope);
  backend_.rope(rows, q_pe, cosines_, sines_, RopeLayout::interleaved, absorbed_pe);

  in.latents = backend_.allocate(rows.total, c.latent_width());
  backend_.linear(rows, in.x, w.kv_a, in.latents);
  const Tensor latent = in.latents.columns(0, c.kv_lora_rank);
  const Heads k_pe{in.latents.columns(c.kv_lora_rank, c.qk_rope_head_dim), 1, 0,
                   c.qk_rope_head_dim};
  backend_.rms_norm(rows, latent, w.kv_a_norm, c.mla_norm_eps, latent);
  backend_.rope(rows, k_pe, cosines_, sines_, RopeLayout::interleaved, k_pe);
  return in;
}

// MLA rotates the last dr components, the indexer the first.
Heads Decoder::index_heads(const Tensor& tensor, std::int64_t heads) const {
  return {tensor, heads, config_.index_head_dim, config_.qk_rope_head_dim};
}

Tensor Decoder::index_keys(const LayerWeights& w, const RowLayout& rows, const Tensor& x) {
  Tensor keys = backend_.allocate(rows.total, config_.index_head_dim);
  backend_.linear(rows, x, w.indexer->wk, keys);
  backend_.layer_norm(rows, keys, w.indexer->k_norm, w.indexer->k_norm_bias, kIndexNormEps, keys);
  const Heads rotated = index_heads(keys, 1);
  backend_.rope(rows, rotated, cosines_, sines_, config_.index_rope, rotated);
  return keys;
}

Tensor Decoder::select(const LayerWeights& w, const RowLayout& rows, const Projections& in,
                       const RowLayout& key_rows, const Tensor& keys) {
  const Tensor queries =
      backend_.allocate(rows.total, config_.index_heads * config_.index_head_dim);
  backend_.linear(rows, in.q_latent, w.indexer->wq_b, queries);
  const Heads rotated = index_heads(queries, config_.index_heads);
  backend_.rope(rows, rotated, cosines_, sines_, config_.index_rope, rotated);
  const Tensor head_weights = backend_.allocate(rows.total, config_.index_heads);
  backend_.linear(rows, in.x, w.indexer->weights_proj, head_weights);
  Tensor sets = backend_.allocate(rows.total, config_.index_topk, DType::i32);
  backend_.index_topk(rows, queries, head_weights, key_rows, keys, sets);
  return sets;
}

void Decoder::attend(const LayerWeights& w, const RowLayout& rows, const Projections& in,
                     const RowLayout& key_rows, const Tensor& latents, const Tensor& sets,
                     const Tensor& hidden) {
  const ModelConfig& c = config_;
  const Tensor mixed = backend_.allocate(rows.total, c.heads * c.kv_lora_rank);
  const Heads mixed_heads{mixed, c.heads, c.kv_lora_rank, c.kv_lora_rank};
  backend_.sparse_attention(rows, in.queries, key_rows, latents, latents.columns(0, c.kv_lora_rank),
                            sets, c.softmax_scale(), mixed_heads);
  const Tensor values = backend_.allocate(rows.total, c.heads * c.v_head_dim);
  backend_.head_linear(rows, mixed_heads, w.v_absorb,
                       {values, c.heads, c.v_head_dim, c.v_head_dim});
  backend_.linear(rows, values, w.o, hidden, Store::accumulate);
}

void Decoder::feed_forward(const LayerWeights& w, const RowLayout& rows, const Tensor& hidden) {
  const Tensor x = backend_.allocate(rows.total, config_.hidden);
  backend_.rms_norm(rows, hidden, w.post_attention_norm, config_.rms_norm_eps, x);
  if (w.moe) {
    const Tensor logits = backend_.allocate(rows.total, config_.routed_experts);
    backend_.linear(rows, x, w.moe->gate, logits);
    const Routing routing = backend_.route(rows, logits, w.moe->correction_bias, config_.router);
    backend_.experts(rows, x, routing, w.moe->experts, hidden);
  }
  if (w.mlp) backend_.gated_mlp(rows, x, w.mlp->gate_up, w.mlp->down, hidden);
}

std::vector<double> Decoder::loss(const ModelWeights& weights, const RowLayout& rows,
                                  const Tensor& hidden, const Tensor& targets) {
  const Tensor x = backend_.allocate(rows.total, config_.hidden);
  backend_.rms_norm(rows, hidden, weights.final_norm(), config_.rms_norm_eps, x);
  return backend_.next_token_loss(rows, x, weights.lm_head(), targets);
}

}  // namespace indexcache
