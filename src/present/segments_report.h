// SPDX-License-Identifier: Apache-2.0
// What the segments of a result predict, for reports: the loss of every size, and what constraints
// of deployment cost.
#pragma once

#include "result/result.h"
#include "search/predicted_sizes.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// The table of a result whose search measured segments; nullopt for others.
std::optional<SegmentTable> segment_table_of(const Result& result);

// A size, what is predicted for it, and what was measured.
struct SizePoint {
  std::size_t full;
  Pattern pattern;                 // the cheapest by prediction
  double predicted;                // loss increase, nats per token
  std::optional<double> measured;  // of this pattern, if a search measured it
};

// By falling number of F layers; empty without segments.
std::vector<SizePoint> size_points(const Result& result);

// What pipeline stages cost at each target; nullopt if it is not known.
struct StagePrice {
  std::size_t stages;
  std::size_t full;
  std::optional<double> price;  // nats per token, predicted
};

// For 2, 4 and 8 stages, in addition to the constraints of the run; empty without segments.
std::vector<StagePrice> stage_prices(const Result& result);

}  // namespace indexcache
