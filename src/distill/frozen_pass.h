// SPDX-License-Identifier: Apache-2.0
// The forward pass of the frozen model, and what training reads of it.
//
// Students see only the inputs of their layer, and teachers are attention distributions: both
// follow from a few vectors per token and layer, which are kept. Memory therefore grows linearly
// with the length of sequences; distributions are made later, for some queries at a time.
#pragma once

#include "backend/backend.h"
#include "core/pattern.h"
#include "distill/students.h"
#include "model/decoder.h"
#include "model/weights.h"

#include <cstdint>
#include <span>
#include <vector>

namespace indexcache {

// What is kept of a layer, for all positions of some sequences.
struct LayerFeatures {
  Tensor x;         // [rows, H] normalized input; of layers with a student
  Tensor q_latent;  // [rows, ModelConfig::q_latent_width()]
  Tensor latents;   // [rows, rk + dr], the keys of attention
  Tensor sets;      // i32 [rows, K], the student's selection where more than K are visible; of
                    // layers with a student, if a pattern runs
};

struct Features {
  RowLayout rows;                     // a segment per sequence, from position 0 on
  std::vector<LayerFeatures> layers;  // [L]; empty tensors where nothing is needed
};

// Weights that turn what is kept into the queries of attention.
struct QueryWeights {
  Tensor q_b, k_absorb;
};

// The same positions [begin, end) of every sequence, as far as it has them: rows that are taken
// through a layer together.
struct PositionRange {
  std::int64_t begin, end;

  bool operator==(const PositionRange&) const = default;
};
RowLayout rows_of(const RowLayout& whole, const PositionRange& range);

// Ranges of at most `positions` positions up to `longest`; none crosses `split`.
std::vector<PositionRange> position_ranges(std::int64_t longest, std::int64_t split,
                                           std::int64_t positions);
// The same positions, with adjacent ranges joined up to `positions`, but not across `split`.
std::vector<PositionRange> joined_ranges(std::span<const PositionRange> ranges, std::int64_t split,
                                         std::int64_t positions);

class FrozenPass {
 public:
  // `positions`: the longest sequence. The references must outlive the object. `chunk_rows` rows at
  // most pass through a layer together.
  FrozenPass(const ModelConfig& config, Backend& backend, std::int64_t positions,
             const std::vector<Student>& students, std::int64_t chunk_rows);

  // Runs the model over sequences of tokens, all of them at once. Without a pattern attention is
  // dense everywhere; with one the F layers of `weights` select.
  Features run(WeightSource& weights, std::span<const std::vector<std::int32_t>> sequences,
               const Pattern* pattern);

  // Of layers that a student serves, after the first run().
  const QueryWeights& query_weights(std::size_t layer) const { return query_weights_[layer]; }
  Decoder& decoder() { return decoder_; }

  // Bytes of features per row.
  static std::int64_t feature_row_bytes(const ModelConfig& config, const Device& backend,
                                        const std::vector<Student>& students, bool sparse);

 private:
  struct Layer;

  LayerFeatures allocate(std::size_t layer, std::int64_t rows, bool sparse) const;
  void keep_query_weights(std::size_t layer, const LayerWeights& weights, bool stable);
  void advance(const Layer& layer, const RowLayout& chunk, bool selects);

  const ModelConfig& config_;
  Backend& backend_;
  Decoder decoder_;
  std::int64_t chunk_rows_;
  std::vector<bool> taught_;    // [L] some student serves the layer
  std::vector<bool> students_;  // [L] has a student
  std::vector<QueryWeights> query_weights_;
};

}  // namespace indexcache
