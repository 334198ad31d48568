// SPDX-License-Identifier: Apache-2.0
// The DSA forward pass, written once over Backend: pre-norm blocks of MLA over the positions that
// the lightning indexer selects, and an MLP or experts (docs/numerics.md, sections 2 to 6).
//
// A layer is cut into steps, so that the sweep can run what several streams have in common once:
// project -> (select) -> attend -> feed_forward.
#pragma once

#include "backend/backend.h"
#include "model/config.h"
#include "model/weights.h"

#include <cstdint>
#include <vector>

namespace indexcache {

// What a layer computes from its input before it knows which positions it attends to.
struct Projections {
  Tensor x;         // [rows, H] normalised input
  Tensor q_latent;  // [rows, rq] normalised
  Heads queries;    // A heads of rk + dr: absorbed query, rotated part last
  Tensor latents;   // [rows, rk + dr]: normalised kv latent, rotated key part last
};

class Decoder {
 public:
  // `positions`: the longest sequence that will be seen.
  Decoder(const ModelConfig& config, Backend& backend, std::int64_t positions);

  Projections project(const LayerWeights& weights, const RowLayout& rows, const Tensor& hidden);

  // [rows, Di]: the keys that later queries are scored against. Needs weights.indexer.
  Tensor index_keys(const LayerWeights& weights, const RowLayout& rows, const Tensor& x);

  // i32 [rows, K]: the lightning indexer's top-k of every row. `keys` holds all positions of each
  // sequence in layout `key_rows`. Needs weights.indexer.
  Tensor select(const LayerWeights& weights, const RowLayout& rows, const Projections& in,
                const RowLayout& key_rows, const Tensor& keys);

  // hidden += attention over `sets` (over everything causal where `sets` is empty).
  void attend(const LayerWeights& weights, const RowLayout& rows, const Projections& in,
              const RowLayout& key_rows, const Tensor& latents, const Tensor& sets,
              const Tensor& hidden);

  // hidden += MLP or experts.
  void feed_forward(const LayerWeights& weights, const RowLayout& rows, const Tensor& hidden);

  // Final norm, lm_head and cross-entropy: the sum over each segment.
  std::vector<double> loss(const ModelWeights& weights, const RowLayout& rows, const Tensor& hidden,
                           const Tensor& targets);

 private:
  Heads index_heads(const Tensor& tensor, std::int64_t heads) const;

  const ModelConfig& config_;
  Backend& backend_;
  Tensor cosines_, sines_;  // [positions, dr / 2]
};

}  // namespace indexcache
