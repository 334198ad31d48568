// SPDX-License-Identifier: Apache-2.0
// Charts of the search: loss curve, sensitivity, steps, sequences, compared runs.
#include "present/charts.h"
#include "present/scale.h"
#include "present/search_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace indexcache {
namespace {

constexpr double kPlotWidth = 480;
constexpr const char* kNats = "loss increase, nats per token";

std::string signed_text(double value) {
  return fmt::format("{:+.4f}", value);
}

// Ticks at whole numbers of removed indexers.
void draw_count_axis(Svg& svg, const Plot& plot, const Scale& x, std::size_t most,
                     const std::string& name) {
  std::vector<double> positions;
  std::vector<std::string> labels;
  for (const double tick : x.ticks()) {
    if (tick != std::floor(tick) || tick > static_cast<double>(most)) continue;
    positions.push_back(x.at(tick));
    labels.push_back(fmt::format("{:.0f}", tick));
  }
  draw_category_axis(svg, plot, positions, labels, name);
}

// A value beyond the plot is an arrow at its edge.
void draw_point(Svg& svg, const Plot& plot, double x, double y, const std::string& css,
                const std::string& hint) {
  if (y >= plot.top) {
    svg.circle(x, y, 4, css, hint);
  } else {
    svg.polygon({{x - 5, plot.top + 8}, {x + 5, plot.top + 8}, {x, plot.top}}, css);
  }
}

void draw_uniform(Svg& svg, const Target& target, const Plot& plot, double at, const Scale& y) {
  const double rise = target.uniform_holdout->delta.mean;
  draw_point(svg, plot, at, y.at(rise), "uniform-dot",
             fmt::format("uniform, {} F, held out: {}", target.calibration.pattern.full_count(),
                         signed_text(rise)));
}

void draw_held_out(Svg& svg, const PairedDifference& held, const Plot& plot, double at,
                   const Scale& y) {
  if (held.ci95) {
    const double top = std::max(plot.top, y.at(held.ci95->second));
    svg.line(at, top, at, std::min(plot.bottom, y.at(held.ci95->first)), "held");
    svg.line(at - 4, top, at + 4, top, "held");
  }
  const double middle = y.at(held.mean);
  svg.polygon({{at - 5, middle}, {at, middle - 5}, {at + 5, middle}, {at, middle + 5}}, "held-dot");
}

// Held-out losses have a place on the curve of losses only.
bool plots_losses(const Result& result) {
  return result.settings.objective == Objective::loss;
}

void draw_targets(Svg& svg, const Result& result, const Plot& plot, const Scale& x,
                  const Scale& y) {
  for (std::size_t t = 0; t < result.targets.size(); ++t) {
    const Target& target = result.targets[t];
    const double at = x.at(static_cast<double>(result.baseline.full_count()) -
                           static_cast<double>(target.calibration.pattern.full_count()));
    svg.begin_group(t + 1 == result.targets.size() ? "target on" : "target",
                    fmt::format("data-target=\"{}\"", t));
    svg.line(at, plot.top, at, plot.bottom, "mark");
    const bool plots = plots_losses(result);
    const auto uniform = plots ? target.uniform_holdout : std::nullopt;
    if (uniform && y.at(uniform->delta.mean) < plot.top) {
      svg.text(at - 9, plot.top + 9, fmt::format("uniform {:+.2f}", uniform->delta.mean),
               "note uniform-text", Anchor::end);
    }
    svg.end_group();
    if (uniform) draw_uniform(svg, target, plot, at, y);
    if (plots && target.holdout) draw_held_out(svg, target.holdout->delta, plot, at, y);
  }
}

// The patterns of a search by segments are those of different sizes; nothing lies between them.
bool is_drawn_as_line(const SearchPath& search) {
  return search.measured.empty();
}

void draw_legend(Svg& svg, double y, const Result& result) {
  if (std::ranges::any_of(result.searches, is_drawn_as_line)) {
    svg.line(12, y - 4, 32, y - 4, "greedy");
  }
  svg.circle(22, y - 4, 2.5, "greedy-dot");
  const std::string name = result.searches.size() == 1 ? result.searches[0].method : "search";
  svg.text(37, y, name + ", calibration", "note greedy-text");
  if (!result.holdout || !plots_losses(result)) return;
  svg.polygon({{177, y - 4}, {182, y - 9}, {187, y - 4}, {182, y + 1}}, "held-dot");
  svg.text(192, y, "held out, 95%", "note held-text");
  svg.circle(312, y - 4, 4, "uniform-dot");
  svg.text(321, y, "uniform, held out", "note uniform-text");
}

void draw_predicted_legend(Svg& svg, double y) {
  svg.line(12, y - 4, 32, y - 4, "predicted");
  svg.text(37, y, "predicted from segments", "note predicted-text");
  svg.circle(224, y - 4, 3, "predicted-dot");
  svg.text(234, y, "the same pattern, measured", "note predicted-text");
}

// What the axes of loss curves have to hold: uniform patterns may lie beyond.
struct CurveBounds {
  double low = 0;
  double high = 1e-6;
  std::size_t removed = 1;

  void add(double rise) {
    low = std::min(low, rise);
    high = std::max(high, rise);
  }

  void add(const Result& result) {
    for (const SearchPath& search : result.searches) {
      for (const CurvePoint& point : search_curve(result, search)) {
        add(point.rise);
        removed = std::max(removed, point.removed);
      }
    }
    for (const Target& target : result.targets) {
      if (!target.holdout || !plots_losses(result)) continue;
      const PairedDifference& delta = target.holdout->delta;
      add(delta.ci95 ? delta.ci95->first : delta.mean);
      add(delta.ci95 ? delta.ci95->second : delta.mean);
    }
  }

  void add(const Result& result, const std::vector<SizePoint>& sizes) {
    for (const SizePoint& size : sizes) {
      add(size.predicted);
      if (size.measured) add(*size.measured);
      removed = std::max(removed, result.baseline.full_count() - size.full);
    }
  }
};

using Points = std::vector<std::pair<double, double>>;

Points drawn(const std::vector<CurvePoint>& curve, const Scale& x, const Scale& y) {
  Points points;
  for (const CurvePoint& point : curve) {
    points.emplace_back(x.at(static_cast<double>(point.removed)), y.at(point.rise));
  }
  return points;
}

// Steps of some searches are not moves of one layer, but patterns of different sizes.
std::string step_text(const Pattern& before, const Pattern& after, const LayerNumbers& numbers) {
  return newly_shared(before, after).size() == 1
             ? fmt::format("layer {} shared", change_text(before, after, numbers))
             : after.text();
}

void draw_knee(Svg& svg, const std::pair<double, double>& at, std::size_t removed) {
  svg.circle(at.first, at.second, 7, "chosen", fmt::format("knee at {} removed", removed));
  svg.text(at.first - 6, at.second - 12, "knee", "note", Anchor::end);
}

// The curve of one search, and a dot for each step.
void draw_search(Svg& svg, const Result& result, const SearchPath& search, const Scale& x,
                 const Scale& y) {
  const std::vector<CurvePoint> curve = search_curve(result, search);
  const Points line = drawn(curve, x, y);
  if (is_drawn_as_line(search)) svg.polyline(line, "greedy");
  const std::size_t start = curve.size() - search.steps.size();  // 0 if the start has no loss
  const Pattern* before = &search.start;
  for (std::size_t s = 0; s < search.steps.size(); ++s) {
    const Pattern& after = search.steps[s].pattern;
    svg.circle(line[start + s].first, line[start + s].second, 2.5, "greedy-dot",
               fmt::format("{} step {}: {}, {}", search.method, s + 1,
                           step_text(*before, after, result.model.numbers),
                           signed_text(curve[start + s].rise)));
    before = &after;
  }
}

void draw_search_knee(Svg& svg, const Result& result, const SearchPath& search, const Scale& x,
                      const Scale& y) {
  const std::vector<CurvePoint> curve = search_curve(result, search);
  if (const auto bend = knee(curve)) {
    draw_knee(svg, drawn(curve, x, y)[*bend], curve[*bend].removed);
  }
}

// Known sizes as a line, which is interrupted where a size is not known, with dots at what was
// measured, and the knee.
void draw_predicted(Svg& svg, const Result& result, const SegmentsReport& segments, const Scale& x,
                    const Scale& y) {
  const std::size_t all = result.baseline.full_count();
  const auto place = [&](const SizePoint& size, double increase) {
    return std::pair(x.at(static_cast<double>(all - size.full)), y.at(increase));
  };
  const std::vector<SizePoint>& sizes = segments.sizes;
  Points line;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    line.push_back(place(sizes[i], sizes[i].predicted));
    const bool ends = i + 1 == sizes.size() || sizes[i + 1].full + 1 != sizes[i].full;
    if (!ends) continue;
    const auto [at, height] = line.front();
    if (line.size() == 1) line = {{at - 3, height}, {at + 3, height}};
    svg.polyline(line, "predicted");
    line.clear();
  }
  for (const SizePoint& size : sizes) {
    if (!size.measured) continue;
    const auto [at, height] = place(size, *size.measured);
    svg.circle(at, height, 3, "predicted-dot",
               fmt::format("{} F: predicted {}, measured {}", size.full,
                           signed_text(size.predicted), signed_text(*size.measured)));
  }
  if (!segments.knee) return;
  const SizePoint& bend = sizes[*segments.knee];
  draw_knee(svg, place(bend, bend.predicted), all - bend.full);
}

// A bar from zero to `value`.
void draw_bar(Svg& svg, const Scale& y, double x, double width, double value,
              const std::string& hint) {
  const double zero = y.at(0);
  const double end = y.at(value);
  svg.rect(x, std::min(zero, end), width, std::max(std::abs(zero - end), 0.5),
           value < 0 ? "bar-good" : "bar", hint);
}

// Next to the bars that are closest to zero.
void draw_mean(Svg& svg, const Plot& plot, double at, double mean) {
  svg.line(plot.left, at, plot.right, at, "mark");
  const std::string text = fmt::format("mean {}", signed_text(mean));
  if (mean < 0) {
    svg.text(plot.right - 4, at + 14, text, "note", Anchor::end);
  } else {
    svg.text(plot.left + 4, at - 5, text, "note");
  }
}

// Blue below zero, white, red above; |t| <= 1.
Rgb diverging(double t) {
  const double strength = std::clamp(std::abs(t), 0.0, 1.0);
  const double end[2][3] = {{33, 102, 172}, {178, 24, 43}};
  const double shade = std::round(strength * 31) / 31;
  const auto mix = [&](int channel) {
    return static_cast<std::uint8_t>(std::lround(247 + (end[t > 0][channel] - 247) * shade));
  };
  return {mix(0), mix(1), mix(2)};
}

// A row of the step heatmap: the layers that a step might have shared, with the change of the loss.
using StepCells = std::map<std::size_t, double>;

// Of several patterns that share the same layer the best counts.
StepCells cells_of(const StepChange& change) {
  StepCells cells;
  for (const Considered& considered : change.step->considered) {
    const double difference = considered.loss - change.loss_before;
    for (const std::size_t layer : newly_shared(*change.before, considered.pattern)) {
      const auto [cell, is_new] = cells.try_emplace(layer, difference);
      if (!is_new) cell->second = std::min(cell->second, difference);
    }
  }
  return cells;
}

// What the colors reach to: 95 of 100 changes are within it.
double color_bound(const std::vector<StepCells>& rows) {
  std::vector<double> changes;
  for (const StepCells& row : rows) {
    for (const auto& [layer, change] : row) changes.push_back(std::abs(change));
  }
  std::ranges::sort(changes);
  return changes.empty() ? 1 : std::max(changes[changes.size() * 95 / 100], 1e-9);
}

void draw_color_scale(Svg& svg, double top, double bound) {
  CellGrid colors;
  for (std::size_t i = 0; i < 40; ++i) {
    colors.add(0, i, diverging((static_cast<double>(i) - 19.5) / 19.5));
  }
  svg.grid(150, top, 4.5, 12, colors);
  svg.text(144, top + 11, fmt::format("{:+.4f}", -bound), "tick", Anchor::end);
  svg.text(336, top + 11, fmt::format("{:+.4f} nats", bound), "tick");
}

}  // namespace

Svg loss_curve(const Result& result, const SegmentsReport* segments) {
  const double second_row = segments == nullptr ? 0 : 18;
  Svg svg(kPlotWidth, 330 + second_row, "Loss increase against the number of removed indexers");
  const Plot plot{62, 58 + second_row, 462, 282 + second_row};
  CurveBounds bounds;
  bounds.add(result);
  if (segments != nullptr) bounds.add(result, segments->sizes);
  const Scale x(0, static_cast<double>(bounds.removed), plot.left, plot.right, 8);
  const Scale y(axis_low(bounds.low, bounds.high), bounds.high, plot.bottom, plot.top, 5);
  draw_legend(svg, 18, result);
  if (segments != nullptr) draw_predicted_legend(svg, 18 + second_row);
  draw_value_axis(svg, plot, y, value_text(result) + ", nats per token");
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  draw_count_axis(svg, plot, x, bounds.removed, "indexers removed");
  if (segments != nullptr) draw_predicted(svg, result, *segments, x, y);
  for (const SearchPath& search : result.searches) {
    draw_search(svg, result, search, x, y);
    if (segments == nullptr || !segments->knee) draw_search_knee(svg, result, search, x, y);
  }
  draw_targets(svg, result, plot, x, y);
  return svg;
}

Svg sensitivity_bars(const Result& result) {
  Svg svg(kPlotWidth, 270, "Loss increase when only one layer is shared");
  const Plot plot{62, 34, 470, 222};
  double low = 0;
  double high = 1e-6;
  const auto costs = sensitivity(result);
  for (const LayerCost& cost : costs) {
    low = std::min(low, cost.rise);
    high = std::max(high, cost.rise);
  }
  const Scale y(axis_low(low, high), high, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, value_text(result) + ", nats per token");
  const LayerSlots slots(plot, result.model.layers);
  for (const LayerCost& cost : costs) {
    draw_bar(
        svg, y, slots.center(cost.layer) - slots.width * 0.38, slots.width * 0.76, cost.rise,
        fmt::format("layer {}: {}", result.model.numbers.of(cost.layer), signed_text(cost.rise)));
  }
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  draw_layer_axis(svg, plot, result.model.layers, "layer", result.model.numbers);
  return svg;
}

Svg step_heatmap(const Result& result) {
  const std::vector<StepChange> steps = step_changes(result);
  const double rows = static_cast<double>(std::max<std::size_t>(steps.size(), 1));
  const double row = std::clamp(300 / rows, 3.5, 22.0);
  const Plot plot{44, 34, 470, 34 + rows * row};
  Svg svg(kPlotWidth, plot.bottom + 78, "Change of the loss by every candidate of every step");
  const LayerSlots slots(plot, result.model.layers);
  std::vector<StepCells> changes;
  for (const StepChange& step : steps) changes.push_back(cells_of(step));
  const double bound = color_bound(changes);
  CellGrid cells;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    for (const auto& [layer, change] : changes[s]) cells.add(s, layer, diverging(change / bound));
  }
  svg.grid(plot.left, plot.top, slots.width, row, cells);
  for (std::size_t s = 0; s < steps.size(); ++s) {
    for (const std::size_t layer : newly_shared(*steps[s].before, steps[s].step->pattern)) {
      svg.circle(slots.center(layer), plot.top + (static_cast<double>(s) + 0.5) * row,
                 std::min({row, slots.width}) * 0.32, "ring",
                 fmt::format("step {}: layer {}", s + 1, result.model.numbers.of(layer)));
    }
  }
  svg.text(4, plot.top - 12, "step", "axis");
  const auto every = static_cast<std::size_t>(std::ceil(14 / row));
  for (std::size_t s = 0; s < steps.size(); s += every) {
    svg.text(plot.left - 6, plot.top + (static_cast<double>(s) + 0.5) * row + 4,
             fmt::format("{}", s + 1), "tick", Anchor::end);
  }
  draw_layer_axis(svg, plot, result.model.layers, "layer", result.model.numbers);
  draw_color_scale(svg, plot.bottom + 48, bound);
  return svg;
}

Svg sequence_bars(const PairedDifference& shown, const std::string& title,
                  const std::string& value) {
  Svg svg(kPlotWidth, 260, title);
  const Plot plot{62, 34, 470, 216};
  std::vector<std::pair<double, std::size_t>> order;
  const std::vector<double>& differences = shown.per_sequence;
  for (std::size_t s = 0; s < differences.size(); ++s) order.emplace_back(differences[s], s);
  std::ranges::sort(order);
  const double low = std::min(0.0, order.empty() ? 0.0 : order.front().first);
  const double high = std::max(low < 0 ? 0.0 : 1e-6, order.empty() ? 0.0 : order.back().first);
  const Scale y(axis_low(low, high), high, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, value);
  const double width =
      (plot.right - plot.left) / static_cast<double>(std::max<std::size_t>(order.size(), 1));
  for (std::size_t i = 0; i < order.size(); ++i) {
    draw_bar(svg, y, plot.left + (static_cast<double>(i) + 0.1) * width, width * 0.8,
             order[i].first,
             fmt::format("sequence {}: {}", order[i].second, signed_text(order[i].first)));
  }
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  draw_mean(svg, plot, y.at(shown.mean), shown.mean);
  svg.line(plot.left, plot.bottom, plot.right, plot.bottom, "frame");
  svg.text(plot.right, plot.bottom + 20, "sequences, sorted", "axis", Anchor::end);
  return svg;
}

Svg compared_curves(const std::vector<Report>& runs) {
  Svg svg(kPlotWidth, 330 + 18 * static_cast<double>(runs.size()), "Loss increase of several runs");
  const Plot plot{62, 34, 462, 272};
  CurveBounds bounds;
  for (const Report& run : runs) bounds.add(run.result);
  const Scale x(0, static_cast<double>(bounds.removed), plot.left, plot.right, 8);
  const Scale y(axis_low(bounds.low, bounds.high), bounds.high, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, kNats);
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  draw_count_axis(svg, plot, x, bounds.removed, "indexers removed");
  static constexpr const char* kLines[] = {"greedy", "held", "uniform"};
  for (std::size_t r = 0; r < runs.size(); ++r) {
    // With more than three runs a number tells the lines apart.
    const std::size_t style = r % std::size(kLines), turn = r / std::size(kLines);
    const std::string number = fmt::format("{}", r + 1);
    for (const SearchPath& search : runs[r].result.searches) {
      const Points line = drawn(search_curve(runs[r].result, search), x, y);
      if (line.empty()) continue;
      svg.polyline(line, kLines[style]);
      svg.text(line.back().first + 5, line.back().second + 4 + 12 * static_cast<double>(turn),
               number, "note");
    }
    const double row = plot.bottom + 56 + 18 * static_cast<double>(r);
    svg.line(12, row - 4, 34, row - 4, kLines[style]);
    svg.text(40, row,
             fmt::format("{}  {}", number, runs[r].folder.size() > 48 ? "…" : runs[r].folder),
             "note");
  }
  return svg;
}

}  // namespace indexcache
