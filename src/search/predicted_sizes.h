// SPDX-License-Identifier: Apache-2.0
// What segments predict without measuring anything more: the cheapest pattern of every size, under
// any constraints.
#pragma once

#include "search/constraints.h"
#include "search/segment_table.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace indexcache {

// The cheapest pattern with `full` F layers.
struct PredictedSize {
  std::size_t full;
  Pattern pattern;
  double increase;  // of the loss, in nats per token, predicted
};

// nullopt if no pattern of this size keeps the constraints, or if a segment that was not measured
// could be part of a cheaper one (open_segments): then it is not known, and nothing is guessed.
std::optional<PredictedSize> predicted_size(const SegmentTable& table,
                                            const Constraints& constraints, std::size_t full);

// All sizes that are known, by falling number of F layers.
std::vector<PredictedSize> predicted_sizes(const SegmentTable& table,
                                           const Constraints& constraints);

// Constraints of which patterns keep both, such as those of a run and of a deployment.
Constraints both(Constraints constraints, const Constraints& others);

// Whether some pattern with `full` F layers keeps the constraints, measured or not: if not, its
// size is not unknown but impossible.
bool is_possible(const SegmentTable& table, const Constraints& constraints, std::size_t full);

}  // namespace indexcache
