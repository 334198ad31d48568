// SPDX-License-Identifier: Apache-2.0
// Charts of the overlap, and the strip of the pattern.
#include "present/charts.h"
#include "present/heatmap.h"
#include "present/scale.h"
#include "present/search_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr double kChartWidth = 480;
constexpr std::size_t kStripColumns = 12;

double mean_neighbors(const Report& report, std::size_t bucket) {
  double sum = 0;
  for (std::size_t l = 0; l + 1 < report.overlap.layers; ++l)
    sum += report.overlap.mean(l, l + 1, bucket);
  return report.overlap.layers < 2 ? 1 : sum / static_cast<double>(report.overlap.layers - 1);
}

// Mean and least overlap of shared layers with their donors in a bucket.
std::pair<double, double> donors(const Report& report, const Pattern& pattern, std::size_t bucket) {
  const auto shared = pattern.shared_layers();
  double sum = 0;
  double least = 1;
  for (const std::size_t layer : shared) {
    const double value = report.overlap.mean(layer, pattern.donor(layer), bucket);
    sum += value;
    least = std::min(least, value);
  }
  return {shared.empty() ? 1 : sum / static_cast<double>(shared.size()), least};
}

std::string position_text(std::int64_t end) {
  return end % 1024 == 0 ? fmt::format("{}K", end / 1024) : fmt::format("{}", end);
}

}  // namespace

Svg pattern_strip(const Pattern& pattern, const LayerNumbers& numbers) {
  const std::size_t rows = (pattern.layers() + kStripColumns - 1) / kStripColumns;
  Svg svg(kChartWidth, static_cast<double>(rows) * 60 + 4, "Pattern " + pattern.text());
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    const std::size_t row = layer / kStripColumns, column = layer % kStripColumns;
    const double x = static_cast<double>(column) * 40 + 1;
    const double y = static_cast<double>(row) * 60 + 2;
    const bool full = pattern.is_full(layer);
    const std::size_t donor = pattern.donor(layer), number = numbers.of(layer);
    svg.text(x + 19, y + 11, fmt::format("{}", number), "tick", Anchor::middle);
    svg.rect(x, y + 15, 38, 24, full ? "full" : "shared",
             full ? fmt::format("layer {} runs its indexer", number)
                  : fmt::format("layer {} reuses the set of layer {}, {} before it", number,
                                numbers.of(donor), layer - donor));
    svg.text(x + 19, y + 32, full ? "F" : "S", full ? "on-full" : "on-shared", Anchor::middle);
    if (!full)
      svg.text(x + 19, y + 52, fmt::format("← {}", numbers.of(donor)), "tick", Anchor::middle);
  }
  return svg;
}

Svg overlap_heatmap(const Report& report) {
  Svg svg(kHeatmapWidth, kHeatmapHeight, "Overlap of top-k sets between layers");
  std::vector<Pattern> targets;
  for (const Target& target : report.result.targets) targets.push_back(target.calibration.pattern);
  draw_heatmap(svg, report.overlap, targets, 0, report.result.model.numbers);
  return svg;
}

std::vector<OverlapCost> overlap_costs(const Report& report) {
  std::vector<OverlapCost> costs;
  for (const LayerCost& cost : sensitivity(report.result)) {
    if (cost.layer == 0) continue;  // no layer before it
    const std::size_t donor = report.result.baseline.donor(cost.layer - 1);
    costs.push_back({cost.layer, report.overlap.mean(cost.layer, donor), cost.rise});
  }
  return costs;
}

Svg overlap_scatter(const Report& report) {
  Svg svg(kChartWidth, 300,
          "Overlap with the previous layer against the loss increase from sharing");
  const Plot plot{62, 34, 462, 246};
  const auto costs = overlap_costs(report);
  const LayerNumbers& numbers = report.result.model.numbers;
  double low = 0;
  double high = 1e-6;
  for (const OverlapCost& cost : costs) {
    low = std::min(low, cost.rise);
    high = std::max(high, cost.rise);
  }
  const Scale x(0, 1, plot.left, plot.right, 5);
  const Scale y(axis_low(low, high), high, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, "loss increase, nats per token");
  std::vector<double> positions;
  std::vector<std::string> labels;
  for (const double tick : x.ticks()) {
    positions.push_back(x.at(tick));
    labels.push_back(tick_text(tick, x.ticks()));
  }
  draw_category_axis(svg, plot, positions, labels, "overlap with the previous layer");
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  for (const OverlapCost& cost : costs) {
    svg.circle(x.at(cost.overlap), y.at(cost.rise), 4, "greedy-dot",
               fmt::format("layer {}: overlap {:.3f}, {:+.4f}", numbers.of(cost.layer),
                           cost.overlap, cost.rise));
  }
  // The layers that stand out are named; their labels go where there is room.
  auto order = costs;
  std::ranges::sort(order, std::greater<>(), &OverlapCost::rise);
  double last = -100;
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), 3); ++i) {
    const double at = y.at(order[i].rise);
    if (std::abs(at - last) < 13) continue;
    last = at;
    const bool left = x.at(order[i].overlap) > plot.right - 60;
    svg.text(x.at(order[i].overlap) + (left ? -7 : 7), at + 4,
             fmt::format("layer {}", numbers.of(order[i].layer)), "note",
             left ? Anchor::end : Anchor::start);
  }
  return svg;
}

Svg position_lines(const Report& report, const Target& target) {
  Svg svg(kChartWidth, 290, "Overlap by position in the sequence");
  const Plot plot{62, 58, 462, 236};
  std::vector<std::pair<double, double>> neighbors;
  std::vector<std::pair<double, double>> mean;
  std::vector<std::pair<double, double>> least;
  std::vector<double> positions;
  std::vector<std::string> labels;
  const Scale y(0, 1, plot.bottom, plot.top, 5);
  const std::size_t buckets = report.overlap.bucket_ends.size();
  const double slot =
      (plot.right - plot.left) / static_cast<double>(std::max<std::size_t>(buckets, 1));
  for (std::size_t b = 0; b < buckets; ++b) {
    if (report.overlap.queries[b] == 0) continue;
    const double x = plot.left + (static_cast<double>(b) + 0.5) * slot;
    positions.push_back(x);
    labels.push_back("< " + position_text(report.overlap.bucket_ends[b]));
    neighbors.emplace_back(x, y.at(mean_neighbors(report, b)));
    const auto [average, lowest] = donors(report, target.calibration.pattern, b);
    mean.emplace_back(x, y.at(average));
    least.emplace_back(x, y.at(lowest));
  }
  draw_value_axis(svg, plot, y, "overlap");
  draw_category_axis(svg, plot, positions, labels, "position of the query");
  svg.polyline(neighbors, "greedy");
  svg.polyline(mean, "held");
  svg.polyline(least, "uniform");
  for (const auto& [x, at] : neighbors) svg.circle(x, at, 3, "greedy-dot");
  for (const auto& [x, at] : mean) svg.circle(x, at, 3, "held-dot");
  for (const auto& [x, at] : least) svg.circle(x, at, 3, "uniform-dot");
  svg.line(12, 14, 32, 14, "greedy");
  svg.text(37, 18, "neighbors, mean", "note greedy-text");
  svg.line(167, 14, 187, 14, "held");
  svg.text(192, 18, "donors, mean", "note held-text");
  svg.line(302, 14, 322, 14, "uniform");
  svg.text(327, 18, "donors, lowest", "note uniform-text");
  return svg;
}

}  // namespace indexcache
