// SPDX-License-Identifier: Apache-2.0
// What segments predict without measuring anything more: the cheapest pattern of every size, and
// the price of a constraint.
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

// How much the predicted loss of the cheapest pattern with `full` F layers increases if it has to
// keep `constraints` as well as `others`; nullopt if one of the two is not known.
std::optional<double> constraint_price(const SegmentTable& table, const Constraints& others,
                                       const Constraints& constraints, std::size_t full);

}  // namespace indexcache
