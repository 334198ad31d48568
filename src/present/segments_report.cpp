// SPDX-License-Identifier: Apache-2.0
#include "present/segments_report.h"

#include "search/segments.h"
#include "serving/pipeline_stages.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace indexcache {
namespace {

const SearchPath* segments_path(const Result& result) {
  for (const SearchPath& search : result.searches) {
    if (!search.measured.empty()) return &search;
  }
  return nullptr;
}

std::vector<PatternSegment> estimated_segments(const Result& result, const SegmentTable& table) {
  std::vector<PatternSegment> estimated;
  for (const Considered& considered : segments_path(result)->measured) {
    if (considered.complete()) continue;
    if (const auto segment = table.only_segment(considered.pattern)) {
      estimated.push_back(*segment);
    }
  }
  std::ranges::sort(estimated);
  return estimated;
}

std::vector<SizePoint> size_points(const Result& result, const SegmentTable& table) {
  std::vector<SizePoint> points;
  for (PredictedSize& size : predicted_sizes(table, result.constraints)) {
    const auto loss = measured_loss(result, size.pattern);
    points.push_back({size.full, std::move(size.pattern), size.increase,
                      loss ? std::optional(*loss - result.search_start) : std::nullopt});
  }
  return points;
}

std::optional<std::size_t> size_knee(const Result& result, const std::vector<SizePoint>& sizes) {
  std::vector<CurvePoint> curve;
  for (const SizePoint& size : sizes) {
    curve.push_back({result.baseline.full_count() - size.full, size.predicted});
  }
  return knee(curve);
}

// All patterns that the searches measured on every sequence, with their loss increases.
std::map<Pattern, double> measured_increases(const Result& result) {
  std::map<Pattern, double> increases;
  for (const SearchPath& search : result.searches) {
    for_each_considered(search, [&](const Considered& considered) {
      if (!considered.complete()) return;
      increases.try_emplace(considered.pattern, considered.loss - result.search_start);
    });
  }
  return increases;
}

std::vector<PredictedPattern> predicted_patterns(const Result& result,
                                                 const SegmentsReport& segments) {
  std::vector<PredictedPattern> predictions;
  for (const auto& [pattern, measured] : measured_increases(result)) {
    if (pattern == result.baseline || segments.table.only_segment(pattern)) continue;
    const auto parts = segments_of(pattern);
    if (std::ranges::any_of(parts, [&](const auto& part) { return segments.is_estimated(part); })) {
      continue;
    }
    if (const auto predicted = segments.table.predict(pattern)) {
      predictions.push_back({pattern, *predicted, measured});
    }
  }
  return predictions;
}

// Of engines that do not pass index sets between pipeline stages. A stage that would begin with a
// layer without an indexer leaves no pattern.
Constraints stage_constraints(const Result& result, std::size_t stages) {
  const std::size_t layers = result.baseline.layers();
  const LayerNumbers& numbers = result.model.numbers;
  Constraints constraints = Constraints::none(layers);
  for (const std::size_t layer :
       numbers.letters_from(even_stage_starts(stages, numbers.model_layers(layers)))) {
    constraints.pinned_full[layer] = true;
  }
  return constraints;
}

// Works out the prices of constraints at all targets. What the constraints of the run predict is
// known from `sizes`.
class Prices {
 public:
  Prices(const Result& result, const SegmentTable& table, const std::vector<SizePoint>& sizes)
      : result_(result), table_(table) {
    for (const SizePoint& size : sizes) of_run_[size.full] = size.predicted;
  }

  // Of a constraint that the run has: `without` it are the others.
  void add_own(ConstraintPrice::Kind kind, std::size_t number, const Constraints& without) {
    for_targets(kind, number, [&](ConstraintPrice& price) {
      price.price = difference(of_run(price.full), predict(without, price.full));
    });
  }

  // Of a constraint that the run does not have.
  void add_other(ConstraintPrice::Kind kind, std::size_t number, const Constraints& other) {
    const Constraints with = both(other, result_.constraints);
    for_targets(kind, number, [&](ConstraintPrice& price) {
      price.price = difference(predict(with, price.full), of_run(price.full));
      price.possible = price.price || is_possible(table_, with, price.full);
    });
  }

  std::vector<ConstraintPrice> take() { return std::move(prices_); }

 private:
  template <typename Work>
  void for_targets(ConstraintPrice::Kind kind, std::size_t number, const Work& work) {
    for (const Target& target : result_.targets) {
      prices_.push_back({kind, number, target.calibration.pattern.full_count(), true, {}});
      work(prices_.back());
    }
  }

  std::optional<double> of_run(std::size_t full) const {
    const auto known = of_run_.find(full);
    return known == of_run_.end() ? std::nullopt : std::optional(known->second);
  }

  std::optional<double> predict(const Constraints& constraints, std::size_t full) const {
    const auto size = predicted_size(table_, constraints, full);
    return size ? std::optional(size->increase) : std::nullopt;
  }

  static std::optional<double> difference(const std::optional<double>& with,
                                          const std::optional<double>& without) {
    return with && without ? std::optional(*with - *without) : std::nullopt;
  }

  const Result& result_;
  const SegmentTable& table_;
  std::map<std::size_t, double> of_run_;  // by F layers
  std::vector<ConstraintPrice> prices_;
};

std::vector<ConstraintPrice> constraint_prices(const Result& result, const SegmentTable& table,
                                               const std::vector<SizePoint>& sizes) {
  const Constraints& run = result.constraints;
  const std::size_t layers = result.baseline.layers();
  Prices prices(result, table, sizes);
  Constraints unpinned = Constraints::none(layers);
  unpinned.max_run = run.max_run;
  if (run != unpinned) prices.add_own(ConstraintPrice::Kind::pins, 0, unpinned);
  if (run.max_run > 0) {
    Constraints any_run = run;
    any_run.max_run = 0;
    prices.add_own(ConstraintPrice::Kind::max_run, run.max_run, any_run);
  }
  for (const std::size_t stages : {2, 4, 8}) {
    if (stages > layers) break;
    prices.add_other(ConstraintPrice::Kind::stages, stages, stage_constraints(result, stages));
  }
  return prices.take();
}

// nullopt if no search measured segments.
std::optional<SegmentTable> segment_table_of(const Result& result) {
  const SearchPath* search = segments_path(result);
  if (search == nullptr) return std::nullopt;
  return segment_table(result.baseline, result.search_start, search->measured);
}

}  // namespace

bool SegmentsReport::is_estimated(const PatternSegment& segment) const {
  return std::ranges::binary_search(estimated, segment);
}

std::optional<SegmentsReport> segments_report(const Result& result) {
  auto table = segment_table_of(result);
  if (!table) return std::nullopt;
  SegmentsReport report{.table = std::move(*table),
                        .estimated = {},
                        .sizes = {},
                        .knee = std::nullopt,
                        .prices = {},
                        .predictions = {}};
  report.estimated = estimated_segments(result, report.table);
  report.sizes = size_points(result, report.table);
  report.knee = size_knee(result, report.sizes);
  report.prices = constraint_prices(result, report.table, report.sizes);
  report.predictions = predicted_patterns(result, report);
  return report;
}

std::string constraint_text(const Result& result, const ConstraintPrice& price) {
  const Constraints& run = result.constraints;
  switch (price.kind) {
    case ConstraintPrice::Kind::pins: {
      std::vector<std::string> pins;
      for (std::size_t layer = 0; layer < run.pinned_full.size(); ++layer) {
        if (run.pinned_full[layer]) pins.push_back(fmt::format("{} F", layer));
        if (run.pinned_shared[layer]) pins.push_back(fmt::format("{} S", layer));
      }
      return fmt::format("pinned layers of this run: {}", fmt::join(pins, ", "));
    }
    case ConstraintPrice::Kind::max_run:
      return fmt::format("at most {} consecutive S layers, as in this run", price.number);
    case ConstraintPrice::Kind::stages:
      break;
  }
  return fmt::format("{} pipeline stages that begin with F", price.number);
}

PredictionQuality prediction_quality(const std::vector<PredictedPattern>& predictions) {
  const auto difference = [](const PredictedPattern& pattern) {
    return std::abs(pattern.measured - pattern.predicted);
  };
  std::vector<double> predicted;
  std::vector<double> measured;
  for (const PredictedPattern& pattern : predictions) {
    predicted.push_back(pattern.predicted);
    measured.push_back(pattern.measured);
  }
  return {&*std::ranges::max_element(predictions, {}, difference),
          rank_correlation(predicted, measured)};
}

}  // namespace indexcache
