// SPDX-License-Identifier: Apache-2.0
// What the segments of a result say, for reports: the cost of every segment, the predicted loss of
// every size, what constraints cost, and whether predictions are right.
#pragma once

#include "present/search_curve.h"
#include "result/result.h"
#include "search/predicted_sizes.h"
#include "search/segment_table.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// A size, what is predicted for it, and what was measured.
struct SizePoint {
  std::size_t full;
  Pattern pattern;                 // the cheapest by prediction
  double predicted;                // loss increase, nats per token
  std::optional<double> measured;  // of this pattern, if a search measured it
};

// What a constraint costs at a target: how much the predicted loss of the cheapest pattern of its
// size increases.
struct ConstraintPrice {
  enum class Kind {
    pins,     // the pinned layers of the run, against the rest of its constraints
    max_run,  // the longest run of S layers of the run, likewise
    stages    // pipeline stages that begin with F layers, on top of the constraints of the run
  };

  Kind kind;
  std::size_t number;           // of max_run and stages; 0 for pins
  std::size_t full;             // F layers of the target
  bool possible;                // false: no pattern of this size keeps the constraint
  std::optional<double> price;  // nats per token; nullopt if it is not known
};

// A pattern of several segments that a search measured.
struct PredictedPattern {
  Pattern pattern;
  double predicted;  // loss increase, nats per token
  double measured;
};

struct SegmentsReport {
  SegmentTable table;
  // Segments that left a race: their costs are estimates.
  std::vector<PatternSegment> estimated;
  // Sizes that are known, by falling number of F layers, under the constraints of the run.
  std::vector<SizePoint> sizes;
  // Of the predicted curve, as an index of `sizes`.
  std::optional<std::size_t> knee;
  // By constraint, then by target: pins and max_run if the run has some, then 2, 4 and 8 stages.
  std::vector<ConstraintPrice> prices;
  // All patterns that were measured on every sequence and consist of segments that were, ascending.
  // Those of one segment are left out: their predictions are what was measured.
  std::vector<PredictedPattern> predictions;

  bool is_estimated(const PatternSegment& segment) const;
};

// nullopt for a result whose search measured no segments.
std::optional<SegmentsReport> segments_report(const Result& result);

// The constraint of a price, in words: "4 pipeline stages".
std::string constraint_text(const Result& result, const ConstraintPrice& price);

// How well predictions agree with measurements.
struct PredictionQuality {
  const PredictedPattern* worst;  // with the largest difference
  std::optional<double> rank_correlation;
};

// Of at least one pattern.
PredictionQuality prediction_quality(const std::vector<PredictedPattern>& predictions);

}  // namespace indexcache
