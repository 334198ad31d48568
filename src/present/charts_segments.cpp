// SPDX-License-Identifier: Apache-2.0
// Charts of segments: what each costs, and whether costs add up.
#include "present/charts.h"
#include "present/heatmap.h"
#include "present/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr double kBarLeft = 84;
constexpr double kBarRight = 384;
constexpr std::size_t kBarCells = 60;
// More powers of ten than this would leave no room for their labels.
constexpr int kMostDecades = 6;

std::vector<PatternSegment> all_segments(const SegmentTable& table) {
  std::vector<PatternSegment> segments;
  for (std::size_t first = 0; first < table.start().layers(); ++first) {
    for (const std::size_t end : table.ends(first)) segments.push_back({first, end});
  }
  return segments;
}

// Colors of costs: logarithmic between two powers of ten, from the tenth part of the costs to the
// highest, because most segments cost hundredths of what the worst do. Cheap is bright, as similar
// layers are in the overlap heatmap.
class CostColors {
 public:
  explicit CostColors(const SegmentTable& table) {
    std::vector<double> costs;
    for (const PatternSegment& segment : all_segments(table)) {
      const auto cost = table.cost(segment);
      if (cost && *cost > 0 && std::isfinite(*cost)) costs.push_back(*cost);
    }
    if (costs.empty()) return;
    std::ranges::sort(costs);
    high_ = static_cast<int>(std::ceil(std::log10(costs.back()) - 1e-9));
    low_ = static_cast<int>(std::floor(std::log10(costs[costs.size() / 10]) + 1e-9));
    low_ = std::clamp(low_, high_ - kMostDecades, high_ - 1);
  }

  // Powers of ten. Costs below 10^low(), negative ones among them, have the color of 10^low().
  int low() const { return low_; }
  int high() const { return high_; }

  Rgb of_cost(double cost) const {
    return cost <= 0 ? of_part(0) : of_part((std::log10(cost) - low_) / (high_ - low_));
  }

  // 0: cheap, 1: expensive. Shades are rounded as in the overlap heatmap.
  static Rgb of_part(double part) {
    return viridis(std::round((1 - std::clamp(part, 0.0, 1.0)) * 127) / 127);
  }

 private:
  int low_ = -4;
  int high_ = 0;
};

std::string cost_hint(const SegmentTable& table, const PatternSegment& segment,
                      const LayerNumbers& numbers) {
  const auto cost = table.cost(segment);
  const std::string text = cost ? fmt::format("{:+.4f}", *cost) : "not measured";
  if (segment.end == segment.first + 1)
    return fmt::format("layer {} feeds no other", numbers.of(segment.first));
  return fmt::format("layer {} feeds {} to {}: {}", numbers.of(segment.first),
                     numbers.of(segment.first + 1), numbers.of(segment.end - 1), text);
}

// Where the cell of a segment lies: row of its F layer, column of its last layer.
struct CellPlace {
  CellPlace(const Plot& plot, double side, const PatternSegment& segment)
      : x(plot.left + static_cast<double>(segment.end - 1) * side),
        y(plot.top + static_cast<double>(segment.first) * side) {}
  double x;
  double y;
};

void draw_unmeasured_cell(Svg& svg, double x, double y, double width, double height) {
  svg.rect(x, y, width, height, "unmeasured");
  svg.line(x, y + height / 2, x + width, y + height / 2, "unmeasured-line");
}

// Neighboring cells of a row without a cost are one shape.
void draw_unmeasured(Svg& svg, const Plot& plot, double side, const SegmentTable& table) {
  std::vector<std::pair<PatternSegment, std::size_t>> shapes;  // first cell, number of cells
  for (const PatternSegment& segment : all_segments(table)) {
    if (table.cost(segment)) continue;
    const bool continues = !shapes.empty() && shapes.back().first.first == segment.first &&
                           shapes.back().first.end + shapes.back().second == segment.end;
    if (continues) {
      ++shapes.back().second;
    } else {
      shapes.emplace_back(segment, 1);
    }
  }
  for (const auto& [segment, count] : shapes) {
    const CellPlace place(plot, side, segment);
    draw_unmeasured_cell(svg, place.x, place.y, static_cast<double>(count) * side, side);
  }
}

// Black around white, which shows on every color of a cell.
void draw_outline(Svg& svg, double x, double y, double side, const std::string& hint) {
  svg.rect(x, y, side, side, "segment", hint);
  svg.rect(x + 1, y + 1, side - 2, side - 2, "segment-in");
}

void draw_target_segments(Svg& svg, const Plot& plot, double side, const Result& result,
                          const SegmentTable& table) {
  for (std::size_t t = 0; t < result.targets.size(); ++t) {
    svg.begin_group(t + 1 == result.targets.size() ? "target on" : "target",
                    fmt::format("data-target=\"{}\"", t));
    for (const PatternSegment& segment : segments_of(result.targets[t].calibration.pattern)) {
      const CellPlace place(plot, side, segment);
      draw_outline(svg, place.x, place.y, side, cost_hint(table, segment, result.model.numbers));
    }
    svg.end_group();
  }
}

// In the half of the matrix that has no segments.
void draw_cell_legend(Svg& svg, const Plot& plot) {
  const double x = plot.left + 12;
  draw_outline(svg, x, plot.bottom - 50, 12, "");
  svg.text(x + 20, plot.bottom - 40, "in the target's pattern", "note");
  draw_unmeasured_cell(svg, x, plot.bottom - 28, 12, 12);
  svg.text(x + 20, plot.bottom - 18, "not measured", "note");
}

void draw_cost_scale(Svg& svg, double top, const CostColors& colors) {
  CellGrid bar;
  for (std::size_t i = 0; i < kBarCells; ++i) {
    bar.add(0, i, CostColors::of_part((static_cast<double>(i) + 0.5) / kBarCells));
  }
  svg.grid(kBarLeft, top, (kBarRight - kBarLeft) / kBarCells, 12, bar);
  svg.text(kBarLeft - 6, top + 11, "cost", "axis", Anchor::end);
  svg.text(kBarRight + 6, top + 11, "nats per token", "axis");
  const double decade = (kBarRight - kBarLeft) / (colors.high() - colors.low());
  for (int power = colors.low(); power <= colors.high(); ++power) {
    const double x = kBarLeft + (power - colors.low()) * decade;
    svg.text(x, top + 27,
             fmt::format("{}{:g}", power == colors.low() ? "≤ " : "", std::pow(10.0, power)),
             "tick", Anchor::middle);
  }
}

// The range of both axes.
Scale prediction_scale(const std::vector<PredictedPattern>& predictions, double from, double to) {
  double low = 0;
  double high = 1e-6;
  for (const PredictedPattern& pattern : predictions) {
    low = std::min({low, pattern.predicted, pattern.measured});
    high = std::max({high, pattern.predicted, pattern.measured});
  }
  return {axis_low(low, high), high, from, to, 5};
}

}  // namespace

Svg segment_triangle(const Result& result, const SegmentsReport& segments) {
  Svg svg(kHeatmapWidth, kHeatmapHeight + 16, "Cost of segments, by F layer and last layer");
  const Plot plot = heatmap_area(0);
  const std::size_t layers = result.model.layers;
  const double side = (plot.right - plot.left) / static_cast<double>(layers);
  const CostColors colors(segments.table);
  CellGrid cells;
  for (const PatternSegment& segment : all_segments(segments.table)) {
    const auto cost = segments.table.cost(segment);
    if (cost) cells.add(segment.first, segment.end - 1, colors.of_cost(*cost));
  }
  svg.rect(plot.left, plot.top, plot.right - plot.left, plot.bottom - plot.top, "area");
  draw_unmeasured(svg, plot, side, segments.table);
  svg.grid(plot.left, plot.top, side, side, cells);
  draw_target_segments(svg, plot, side, result, segments.table);
  draw_cell_legend(svg, plot);
  draw_matrix_axes(svg, plot, layers, "F layer", "last layer that it feeds", result.model.numbers);
  draw_cost_scale(svg, plot.bottom + 48, colors);
  return svg;
}

Svg prediction_scatter(const SegmentsReport& segments) {
  Svg svg(480, 400, "Predicted against measured loss increase");
  const Plot plot{62, 34, 462, 346};
  const Scale x = prediction_scale(segments.predictions, plot.left, plot.right);
  const Scale y = prediction_scale(segments.predictions, plot.bottom, plot.top);
  draw_value_axis(svg, plot, y, "measured loss increase, nats per token");
  std::vector<double> positions;
  std::vector<std::string> labels;
  for (const double tick : x.ticks()) {
    positions.push_back(x.at(tick));
    labels.push_back(tick_text(tick, x.ticks()));
  }
  draw_category_axis(svg, plot, positions, labels, "predicted loss increase, nats per token");
  svg.line(plot.left, plot.bottom, plot.right, plot.top, "zero");
  for (const PredictedPattern& pattern : segments.predictions) {
    svg.circle(x.at(pattern.predicted), y.at(pattern.measured), 3, "greedy-dot",
               fmt::format("{} F: predicted {:+.4f}, measured {:+.4f}",
                           pattern.pattern.full_count(), pattern.predicted, pattern.measured));
  }
  return svg;
}

}  // namespace indexcache
