// SPDX-License-Identifier: Apache-2.0
// How long a step of decoding takes: one new token for each of some sequences, whose keys lie in
// pages as an engine keeps them (backend/paged_cache.h).
//
// Caches hold random keys, so that nothing has to be prefilled, and pages are in random order. Sets
// of random keys are spread over the whole sequence, which is the worst case for attention: those
// of text are closer together.
#pragma once

#include "core/pattern.h"
#include "model/config.h"
#include "model/weights.h"

#include <cstdint>
#include <span>
#include <vector>

namespace indexcache {

struct DecodeLoad {
  std::int64_t context;  // positions of every sequence, that of the new token included
  std::int64_t batch;    // sequences
  PageLayout latents = PageLayout::plain;
};

struct DecodeTime {
  // A step whose operations are queued before the device begins with them, as engines have it with
  // CUDA graphs; on a CPU the same as the next one. The median of several.
  double seconds;
  // A step from idle to idle, with what launching its operations takes. The median.
  double launched_seconds;
  // Of a step as the first one: medians of steps with a stamp around every operation, without what
  // the stamps added. `loss` is the product with lm_head.
  ComponentSeconds parts;
};

struct DecodeTimes {
  // Layers that have caches of their own; layer l reads those of layer l modulo this number. Less
  // than all layers if those do not fit.
  std::int64_t cached_layers;
  // Bytes that must come from memory in each layer that runs its indexer, and in every layer: keys
  // of the indexer, and selected latents.
  std::int64_t index_bytes, latent_bytes;
  std::vector<DecodeTime> patterns;
};

// Times a step under each pattern. `memory_bytes` is what caches may take, scratch of operations
// included. Throws UsageError if the model selects by HISA, which decode does not have, or if
// load.latents does not fit its widths, and ResourceError if the caches of one layer do not fit.
DecodeTimes time_decode(const ModelConfig& config, WeightSource& weights, Backend& backend,
                        std::span<const Pattern> patterns, const DecodeLoad& load,
                        std::int64_t memory_bytes, int repeat);

}  // namespace indexcache
