// SPDX-License-Identifier: Apache-2.0
// What the steps of a row take, for plans.
#include "model/decoder.h"

#include <algorithm>

namespace indexcache {
namespace {

// What a row takes in addition if the residual is streams: their mixture or what is added to them,
// products with the mixer and squares, and factors of both sublayers.
std::int64_t stream_row_bytes(const ModelConfig& c) {
  if (!c.streams) return 0;
  return 4 * (c.hidden + 1 + 3 * (c.streams->count + c.streams->coefficients()));
}

std::int64_t activation_bytes(const Device& backend) {
  return static_cast<std::int64_t>(size_of(backend.activation()));
}

// Queries of attention before they are absorbed.
std::int64_t plain_query_bytes(const ModelConfig& c, const Device& backend) {
  return activation_bytes(backend) * c.heads * c.q_head_rows();
}

// The QueryRows that select() and attend() read.
std::int64_t query_row_bytes(const ModelConfig& c, const Device& backend) {
  const std::int64_t bytes = activation_bytes(backend);
  const std::int64_t output_gate =
      c.output_gate == OutputGate::input ? bytes * c.heads * c.v_head_dim : 0;
  // Dense attention neither absorbs queries, nor mixes latents, nor selects; keys of a window and
  // entries are not absorbed either.
  const std::int64_t absorbed = c.dense || c.compressed ? 0 : c.latent_width();
  // Queries before they are absorbed are gone afterwards, unless they hold gates.
  const bool kept = c.dense || c.compressed || c.output_gate == OutputGate::queries;
  // Inputs of products are quantized once for all that read them.
  return bytes * (c.hidden + c.q_latent_width() + c.heads * absorbed) +
         backend.linear_row_bytes(c.hidden) + backend.linear_row_bytes(c.q_latent_width()) +
         output_gate + (kept ? plain_query_bytes(c, backend) : 0);
}

}  // namespace

std::int64_t Decoder::row_bytes(const ModelConfig& c, const Device& backend) {
  return std::max(attend_row_bytes(c, backend), feed_forward_row_bytes(c, backend));
}

std::int64_t Decoder::attend_row_bytes(const ModelConfig& c, const Device& backend) {
  const std::int64_t bytes = activation_bytes(backend);
  // The last product's input is quantized for it, and not kept.
  const std::int64_t product = backend.linear_row_bytes(c.heads * c.v_head_dim);
  const std::int64_t mixed = c.dense ? 0 : c.kv_lora_rank;
  const std::int64_t values = c.compressed ? c.compressed->output_groups * c.compressed->output_rank
                                           : c.heads * c.v_head_dim;
  const std::int64_t attending =
      bytes * (c.heads * (c.compressed ? c.value_width() : mixed) + values) +
      backend.attention_row_bytes(c.shape());
  const std::int64_t most = std::max(plain_query_bytes(c, backend), attending);
  return std::max(select_row_bytes(c, backend),
                  query_row_bytes(c, backend) + most + product + stream_row_bytes(c));
}

std::int64_t Decoder::select_row_bytes(const ModelConfig& c, const Device& backend) {
  const auto index_bytes = static_cast<std::int64_t>(size_of(backend.index_activation()));
  // Queries in the indexer's own precision as well, with a scale per head.
  const std::int64_t selecting =
      c.dense ? 0 : c.index_heads * ((index_bytes + 2) * c.index_head_dim + std::int64_t{3} * 4);
  return query_row_bytes(c, backend) + selecting + stream_row_bytes(c);
}

std::int64_t Decoder::feed_forward_row_bytes(const ModelConfig& c, const Device& backend) {
  const std::int64_t bytes = activation_bytes(backend);
  const std::int64_t norm_gate = c.norm_gate_rank > 0 ? bytes * (c.norm_gate_rank + c.hidden) : 0;
  // Logits of the router; experts and weights that it chose.
  const std::int64_t routed =
      4 * (c.routed_experts + 2 * c.router.experts_used) + backend.expert_row_bytes(c.shape());
  return bytes * c.hidden + backend.linear_row_bytes(c.hidden) +
         std::max({norm_gate, routed, backend.mlp_row_bytes(c.hidden, c.intermediate)}) +
         stream_row_bytes(c);
}

// Not of the memory: products of other widths could have other bits.
std::int64_t Decoder::heads_expanded_at_once(const ModelConfig& c) {
  return std::min<std::int64_t>(c.heads, 16);
}

std::int64_t Decoder::expanded_row_bytes(const ModelConfig& c, const Device& backend) {
  return heads_expanded_at_once(c) * (c.qk_nope_head_dim + c.v_head_dim) *
         static_cast<std::int64_t>(size_of(backend.activation()));
}

std::int64_t Decoder::loss_row_bytes(const ModelConfig& c, const Device& backend) {
  return c.hidden * static_cast<std::int64_t>(size_of(backend.activation())) + 8 +
         stream_row_bytes(c);
}

std::int64_t Decoder::compare_row_bytes(const ModelConfig& c, const Device& backend,
                                        std::int64_t count) {
  constexpr std::int64_t kResults = 8 + 8 + 1;  // loss, KL, same top
  const std::int64_t bytes = activation_bytes(backend);
  return (1 + count) * c.hidden * bytes + count * kResults + stream_row_bytes(c);
}

std::int64_t Decoder::compared_at_once(const ModelConfig& c, const Device& backend) {
  const std::int64_t room = row_bytes(c, backend);
  std::int64_t count = 1;
  while (compare_row_bytes(c, backend, count + 1) <= room) ++count;
  return count;
}

}  // namespace indexcache
