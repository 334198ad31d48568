// SPDX-License-Identifier: Apache-2.0
#include "present/segments_report.h"

#include "present/search_curve.h"
#include "search/segments.h"
#include "serving/pipeline_stages.h"

#include <utility>

namespace indexcache {
namespace {

// Constraints of engines that do not pass index sets between pipeline stages; nullopt if a stage
// would begin with a layer that has no indexer.
std::optional<Constraints> stage_constraints(const Pattern& baseline, std::size_t stages) {
  Constraints constraints = Constraints::none(baseline.layers());
  for (const std::size_t layer : even_stage_starts(stages, baseline.layers())) {
    if (!baseline.is_full(layer)) return std::nullopt;
    constraints.pinned_full[layer] = true;
  }
  return constraints;
}

}  // namespace

std::optional<SegmentTable> segment_table_of(const Result& result) {
  for (const SearchPath& search : result.searches) {
    if (search.measured.empty()) continue;
    return segment_table(result.baseline, result.baseline_loss, search.measured);
  }
  return std::nullopt;
}

std::vector<SizePoint> size_points(const Result& result) {
  const auto table = segment_table_of(result);
  if (!table) return {};
  std::vector<SizePoint> points;
  for (PredictedSize& size : predicted_sizes(*table, result.constraints)) {
    const auto loss = measured_loss(result, size.pattern);
    points.push_back({size.full, std::move(size.pattern), size.increase,
                      loss ? std::optional(*loss - result.baseline_loss) : std::nullopt});
  }
  return points;
}

std::vector<StagePrice> stage_prices(const Result& result) {
  const auto table = segment_table_of(result);
  if (!table) return {};
  std::vector<StagePrice> prices;
  for (const std::size_t stages : {2, 4, 8}) {
    if (stages > result.baseline.layers()) break;
    const auto constraints = stage_constraints(result.baseline, stages);
    for (const Target& target : result.targets) {
      const std::size_t full = target.calibration.pattern.full_count();
      prices.push_back({stages, full,
                        constraints
                            ? constraint_price(*table, result.constraints, *constraints, full)
                            : std::nullopt});
    }
  }
  return prices;
}

}  // namespace indexcache
