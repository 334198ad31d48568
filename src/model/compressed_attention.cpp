// SPDX-License-Identifier: Apache-2.0
// The decoder's steps of compressed attention (ModelConfig::compressed): keys of a window, entries
// that are pooled from several positions, and one attention over both, whose result is rotated back
// and projected in groups of heads.
#include "model/decoder.h"
#include "model/rope.h"

#include <utility>
#include <vector>

namespace indexcache {
namespace {

// Every head of a row as a row by itself.
RowLayout rows_of_heads(const RowLayout& rows, std::int64_t heads) {
  RowLayout all;
  for (const Segment& segment : rows.segments) {
    all.segments.push_back({segment.first_row * heads, segment.rows * heads, 0});
  }
  all.total = rows.total * heads;
  return all;
}

std::vector<float> negative(std::vector<float> values) {
  for (float& value : values) value = -value;
  return values;
}

}  // namespace

void Decoder::upload_entry_tables(std::int64_t positions) {
  const std::int64_t pairs = config_.qk_rope_head_dim / 2;
  RopeTable table = make_entry_rope_table(config_, positions);
  entry_negative_sines_ = backend_.upload(negative(table.sines), positions, pairs);
  entry_cosines_ = backend_.upload(std::move(table.cosines), positions, pairs);
  entry_sines_ = backend_.upload(std::move(table.sines), positions, pairs);
  negative_sines_ = backend_.upload(negative(backend_.download(sines_)), positions, pairs);
  const std::int64_t width = config_.latent_width();
  unit_ = backend_.upload(std::vector<float>(static_cast<std::size_t>(width), 1.0f), 1, width);
}

Decoder::Rotation Decoder::rotation_of(bool with_entries) const {
  if (with_entries) return {entry_cosines_, entry_sines_};
  return {cosines_, sines_};
}

void Decoder::rotate_last(const RowLayout& rows, const Heads& heads, const Rotation& rotation) {
  const std::int64_t first = heads.width - config_.qk_rope_head_dim;
  const Heads last{heads.tensor.columns(first, heads.tensor.cols() - first), heads.count,
                   heads.stride, config_.qk_rope_head_dim};
  backend_.rope(rows, last, rotation.cosines, rotation.sines, config_.mla_rope, last);
}

void Decoder::finish_keys(const LayerWeights& w, const RowLayout& rows, const LinearInput& x,
                          const KeyRows& out) {
  backend_.rms_norm(rows, out.latents, w.kv_a_norm, config_.mla_norm_eps, out.latents);
  rotate_last(rows, one_head(out.latents), rotation_of(w.entries.has_value()));
  if (!w.entries) return;
  const std::int64_t own = w.entries->projections.rows(), all = out.projected.cols();
  backend_.linear(rows, x, w.entries->projections, out.projected.columns(0, own));
  if (all == own) return;
  const Device::CountAs purpose(backend_, Component::indexer_projections);
  backend_.linear(rows, x, w.indexer->entries->projections, out.projected.columns(own, all - own));
}

void Decoder::pool_entries(const LayerWeights& w, const RowLayout& key_rows, KeyRows& keys) {
  if (!w.entries) return;
  const std::int64_t ratio = w.entries->ratio();
  keys.entry_rows = {};
  for (const Segment& segment : key_rows.segments) {
    keys.entry_rows.append(segment.rows / ratio, 0, ratio);
  }
  const std::int64_t own = w.entries->projections.rows(), all = keys.projected.cols();
  const auto allocate = [&](std::int64_t width, DType dtype) {
    return backend_.allocate(keys.entry_rows.total, width, dtype, Memory::keys);
  };
  keys.entries = allocate(config_.latent_width(), backend_.activation());
  pool(*w.entries, key_rows, keys.projected.columns(0, own), keys.entry_rows, keys.entries);
  if (all == own) return;
  const Device::CountAs purpose(backend_, Component::indexer_projections);
  keys.index_keys = allocate(config_.index_head_dim, backend_.index_activation());
  pool(*w.indexer->entries, key_rows, keys.projected.columns(own, all - own), keys.entry_rows,
       keys.index_keys);
}

void Decoder::pool(const EntryWeights& w, const RowLayout& key_rows, const Tensor& projected,
                   const RowLayout& entry_rows, const Tensor& out) {
  backend_.pool_entries(key_rows, projected, w.bias, entry_rows, out);
  backend_.rms_norm(entry_rows, out, w.norm, config_.rms_norm_eps, out);
  rotate_last(entry_rows, one_head(out), rotation_of(true));
}

ProjectedQueries Decoder::rotated_queries(const LayerWeights& w, const RowLayout& rows,
                                          const LinearInput& q_latent) {
  const std::int64_t heads = config_.heads, width = config_.latent_width();
  const Tensor q = activations(rows.total, heads * width);
  backend_.linear(rows, q_latent, w.q_b, q);
  const Tensor single = q.as(rows.total * heads, width, q.dtype());
  backend_.rms_norm(rows_of_heads(rows, heads), single, unit_, config_.rms_norm_eps, single);
  const Heads queries{q, heads, width, width};
  rotate_last(rows, queries, rotation_of(w.entries.has_value()));
  return {queries, {}};
}

void Decoder::attend_window(const LayerWeights& w, const RowLayout& rows, const QueryRows& in,
                            const RowLayout& key_rows, const KeyRows& keys, const Tensor& sets,
                            const Tensor& hidden) {
  const CompressedAttention& c = *config_.compressed;
  const std::int64_t heads = config_.heads, width = config_.latent_width();
  const Tensor mixed = activations(rows.total, heads * width);
  const Heads mixed_heads{mixed, heads, width, width};
  backend_.window_attention(rows, in.queries,
                            {key_rows, keys.latents, c.window, keys.entry_rows, keys.entries, sets},
                            config_.softmax_scale(), mixed_heads, w.sinks);
  // Values are rotated keys: turning the result back by the query's angle leaves relative ones.
  if (w.entries) {
    rotate_last(rows, mixed_heads, {entry_cosines_, entry_negative_sines_});
  } else {
    rotate_last(rows, mixed_heads, {cosines_, negative_sines_});
  }
  const std::int64_t together = heads / c.output_groups * width;
  const Tensor grouped = activations(rows.total, c.output_groups * c.output_rank);
  backend_.head_linear(rows, {mixed, c.output_groups, together, together}, w.o_groups,
                       {grouped, c.output_groups, c.output_rank, c.output_rank});
  add_result(rows, in.input.stream_factors, hidden, [&](const Tensor& out) {
    backend_.linear(rows, grouped, w.o, out, Store::accumulate);
  });
}

std::int64_t Decoder::key_row_bytes(const ModelConfig& c, const Device& backend) {
  const auto bytes = static_cast<std::int64_t>(size_of(backend.activation()));
  const std::int64_t index =
      c.dense ? 0
              : c.index_head_dim * static_cast<std::int64_t>(size_of(backend.index_activation()));
  const std::int64_t latent = bytes * c.latent_width();
  if (!c.compressed) return latent + index;
  // Values and gates of overlapping entries, and less than an entry of each kind for every row.
  constexpr std::int64_t kProjected = 4;
  const std::int64_t projected = kProjected * bytes * (c.latent_width() + c.index_head_dim);
  return latent + projected + (latent + index) / 2;
}

}  // namespace indexcache
