// SPDX-License-Identifier: Apache-2.0
#include "distill/frozen_pass.h"

#include "core/interrupt.h"

#include <algorithm>
#include <utility>

namespace indexcache {

RowLayout rows_of(const RowLayout& whole, const PositionRange& range) {
  RowLayout rows;
  for (const Segment& segment : whole.segments) {
    const std::int64_t end = std::min(range.end, segment.rows);
    rows.append(std::max<std::int64_t>(end - range.begin, 0), range.begin);
  }
  return rows;
}

std::vector<PositionRange> position_ranges(std::int64_t longest, std::int64_t split,
                                           std::int64_t positions) {
  std::vector<PositionRange> ranges;
  const auto cut = [&](std::int64_t begin, std::int64_t end) {
    for (; begin < end; begin += positions)
      ranges.push_back({begin, std::min(begin + positions, end)});
  };
  cut(0, std::min(split, longest));
  cut(std::min(split, longest), longest);
  return ranges;
}

std::vector<PositionRange> joined_ranges(std::span<const PositionRange> ranges, std::int64_t split,
                                         std::int64_t positions) {
  std::vector<PositionRange> joined;
  for (const PositionRange& range : ranges) {
    const bool fits = !joined.empty() && joined.back().end == range.begin && range.begin != split &&
                      range.end - joined.back().begin <= positions;
    if (fits) {
      joined.back().end = range.end;
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

// What the chunks of one layer have in common.
struct FrozenPass::Layer {
  const LayerWeights& weights;
  const RowLayout& rows;
  const Tensor& hidden;       // f32 [rows, residual_width()]
  const KeyRows& keys;        // of all rows
  const Tensor& sets;         // i32 [rows, K] in force; filled if the layer selects
  const LayerFeatures& kept;  // filled where tensors are not empty
  bool full;                  // the layer selects
};

FrozenPass::FrozenPass(const ModelConfig& config, Backend& backend, std::int64_t positions,
                       const std::vector<Student>& students, std::int64_t chunk_rows)
    : config_(config),
      backend_(backend),
      decoder_(config, backend, positions),
      chunk_rows_(chunk_rows),
      taught_(taught_layers(students, config.layers)),
      students_(static_cast<std::size_t>(config.layers), false),
      query_weights_(static_cast<std::size_t>(config.layers)) {
  for (const Student& student : students) students_[student.layer] = true;
}

LayerFeatures FrozenPass::allocate(std::size_t layer, std::int64_t rows, bool sparse) const {
  LayerFeatures kept;
  const auto make = [&](std::int64_t cols, DType dtype, Memory kind) {
    return backend_.allocate(rows, cols, dtype, kind);
  };
  const DType activation = backend_.activation();
  if (taught_[layer]) kept.q_latent = make(config_.q_latent_width(), activation, Memory::state);
  if (students_[layer]) kept.x = make(config_.hidden, activation, Memory::state);
  if (students_[layer] && sparse)
    kept.sets = make(config_.index_topk, DType::i32, Memory::index_sets);
  return kept;
}

void FrozenPass::keep_query_weights(std::size_t layer, const LayerWeights& weights, bool stable) {
  QueryWeights& kept = query_weights_[layer];
  if (!taught_[layer] || !kept.q_b.empty()) return;
  const auto copy = [&](const Tensor& from) {
    if (stable) return from;
    Tensor to = backend_.allocate(from.rows(), from.cols(), from.dtype(), Memory::weights);
    RowLayout all;
    all.append(from.rows(), 0);
    backend_.copy_rows(all, from, all, to);
    return to;
  };
  kept = {copy(weights.q_b), copy(weights.k_absorb)};
}

Features FrozenPass::run(WeightSource& weights,
                         std::span<const std::vector<std::int32_t>> sequences,
                         const Pattern* pattern) {
  Features features;
  std::vector<std::int32_t> ids;
  std::int64_t longest = 0;
  for (const auto& sequence : sequences) {
    const auto length = static_cast<std::int64_t>(sequence.size());
    features.rows.append(length, 0);
    longest = std::max(longest, length);
    ids.insert(ids.end(), sequence.begin(), sequence.end());
  }
  const std::int64_t total = features.rows.total;
  const std::int64_t positions =
      std::max<std::int64_t>(1, chunk_rows_ / static_cast<std::int64_t>(sequences.size()));
  const auto ranges = position_ranges(
      longest, pattern == nullptr ? 0 : config_.first_selecting_position(), positions);
  const Tensor hidden =
      decoder_.embed(weights.embedding(), backend_.upload(ids, total, 1), Memory::state);
  Tensor sets;
  for (std::size_t i = 0; i < static_cast<std::size_t>(config_.layers); ++i) {
    const LayerWeights& of_layer = weights.layer(static_cast<std::int64_t>(i));
    keep_query_weights(i, of_layer, weights.is_stable());
    const bool full = pattern != nullptr && pattern->is_full(i);
    LayerFeatures kept = allocate(i, total, pattern != nullptr);
    if (full) {
      sets = !kept.sets.empty()
                 ? kept.sets
                 : backend_.allocate(total, config_.index_topk, DType::i32, Memory::index_sets);
    }
    const KeyRows keys = decoder_.allocate_keys(of_layer, total, full);
    const Layer layer{of_layer, features.rows, hidden, keys, sets, kept, full};
    for (const PositionRange& range : ranges) {
      const RowLayout chunk = rows_of(features.rows, range);
      const Tensor h = backend_.allocate(chunk.total, config_.residual_width());
      backend_.gather_rows(features.rows, hidden, chunk, h);
      const KeyRows part = decoder_.allocate_keys(of_layer, chunk.total, full);
      decoder_.keys(of_layer, chunk, decoder_.attention_input(of_layer, chunk, h), part);
      decoder_.copy_keys(chunk, part, features.rows, keys);
    }
    for (const PositionRange& range : ranges) {
      advance(layer, rows_of(features.rows, range),
              pattern != nullptr && range.begin >= config_.first_selecting_position());
    }
    if (taught_[i]) kept.latents = keys.latents;
    features.layers.push_back(std::move(kept));
    check_interrupt();
  }
  return features;
}

// Takes a chunk through a layer. `selects`: its rows see more than K positions, and a pattern runs.
void FrozenPass::advance(const Layer& layer, const RowLayout& chunk, bool selects) {
  const Tensor h = backend_.allocate(chunk.total, config_.residual_width());
  backend_.gather_rows(layer.rows, layer.hidden, chunk, h);
  const QueryRows in =
      decoder_.queries(layer.weights, chunk, decoder_.attention_input(layer.weights, chunk, h));
  const LayerFeatures& kept = layer.kept;
  if (!kept.x.empty()) backend_.copy_rows(chunk, in.input.x.plain, layer.rows, kept.x);
  if (!kept.q_latent.empty())
    backend_.copy_rows(chunk, in.q_latent.plain, layer.rows, kept.q_latent);
  Tensor sets;
  if (selects) {
    sets = backend_.allocate(chunk.total, config_.index_topk, DType::i32, Memory::index_sets);
    if (layer.full) {
      decoder_.select(layer.weights, chunk, in, layer.rows, layer.keys.index_keys, sets);
      backend_.copy_rows(chunk, sets, layer.rows, layer.sets);
    } else {
      backend_.gather_rows(layer.rows, layer.sets, chunk, sets);
    }
  }
  decoder_.attend(layer.weights, chunk, in, layer.rows, layer.keys, sets, h);
  decoder_.feed_forward(layer.weights, chunk, Tensor(), h);  // no table chooses experts
  backend_.copy_rows(chunk, h, layer.rows, layer.hidden);
}

std::int64_t FrozenPass::feature_row_bytes(const ModelConfig& config, const Device& backend,
                                           const std::vector<Student>& students, bool sparse) {
  const std::vector<bool> taught = taught_layers(students, config.layers);
  std::vector<bool> own(taught.size(), false);
  for (const Student& student : students) own[student.layer] = true;
  const auto bytes = static_cast<std::int64_t>(size_of(backend.activation()));
  const std::int64_t teacher = bytes * (config.q_latent_width() + config.latent_width());
  const std::int64_t student = bytes * config.hidden + (sparse ? 4 * config.index_topk : 0);
  return std::ranges::count(taught, true) * teacher + std::ranges::count(own, true) * student;
}

}  // namespace indexcache
