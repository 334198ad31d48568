// SPDX-License-Identifier: Apache-2.0
// Index sets of two checkpoints of the same shape, or of one in two precisions, on the same tokens.
#pragma once

#include "core/progress.h"
#include "run/session.h"
#include "search/model_overlap.h"

namespace indexcache {

struct ComparedModel {
  const Model& model;
  DeviceOptions options;
};

struct ModelComparison {
  ModelOverlap overlap;
  double first_loss, second_loss;  // mean next-token losses
};

// Throws InputError at `second` unless both models have the same vocabulary, number of layers and
// of selected tokens, and the same layers own an indexer.
void require_comparable(const Model& first, const Model& second, const std::string& where);

// Computes the first model, then the second, on the first device of its options each; at most one
// of them is on a device. Up to `host_bytes` bytes of host memory hold the sets of the first.
ModelComparison compare_models(const ComparedModel& first, const ComparedModel& second,
                               const TokenSet& tokens, std::int64_t host_bytes, Progress& progress);

}  // namespace indexcache
