// SPDX-License-Identifier: Apache-2.0
// Charts of the search: loss curve, sensitivity, steps, sequences, compared runs.
#include "present/charts.h"
#include "present/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr double kWidth = 480;
constexpr const char* kNats = "loss rise, nats a token";

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

void draw_targets(Svg& svg, const RunView& view, const Plot& plot, const Scale& x, const Scale& y) {
  for (std::size_t t = 0; t < view.targets.size(); ++t) {
    const TargetView& target = view.targets[t];
    const double at =
        x.at(static_cast<double>(view.baseline.full_count() - target.pattern.full_count()));
    svg.begin_group(t + 1 == view.targets.size() ? "target on" : "target",
                    fmt::format("data-target=\"{}\"", t));
    svg.line(at, plot.top, at, plot.bottom, "mark");
    if (target.uniform && y.at(target.uniform->mean) < plot.top) {
      svg.text(at - 9, plot.top + 9, fmt::format("uniform {:+.2f}", target.uniform->mean),
               "note uniform-text", Anchor::end);
    }
    svg.end_group();
    if (target.uniform) {
      draw_point(svg, plot, at, y.at(target.uniform->mean), "uniform-dot",
                 fmt::format("uniform, {} F, held out: {}", target.pattern.full_count(),
                             signed_text(target.uniform->mean)));
    }
    if (!target.holdout) continue;
    if (target.holdout->low) {
      const double top = std::max(plot.top, y.at(*target.holdout->high));
      svg.line(at, top, at, std::min(plot.bottom, y.at(*target.holdout->low)), "held");
      svg.line(at - 4, top, at + 4, top, "held");
    }
    const double middle = y.at(target.holdout->mean);
    svg.polygon({{at - 5, middle}, {at, middle - 5}, {at + 5, middle}, {at, middle + 5}},
                "held-dot");
  }
}

void draw_legend(Svg& svg, double y, bool held_out) {
  svg.line(12, y - 4, 32, y - 4, "greedy");
  svg.text(37, y, "greedy, calibration", "note greedy-text");
  if (!held_out) return;
  svg.polygon({{177, y - 4}, {182, y - 9}, {187, y - 4}, {182, y + 1}}, "held-dot");
  svg.text(192, y, "held out, 95 %", "note held-text");
  svg.circle(312, y - 4, 4, "uniform-dot");
  svg.text(321, y, "uniform, held out", "note uniform-text");
}

// Highest value that the loss curve should hold: uniform patterns may lie beyond.
double highest(const RunView& view) {
  double most = 1e-6;
  for (const auto& [count, rise] : view.curve()) most = std::max(most, rise);
  for (const TargetView& target : view.targets) {
    if (target.holdout) most = std::max(most, target.holdout->high.value_or(target.holdout->mean));
  }
  return most;
}

double lowest(const RunView& view) {
  double least = 0;
  for (const auto& [count, rise] : view.curve()) least = std::min(least, rise);
  for (const TargetView& target : view.targets) {
    if (target.holdout) least = std::min(least, target.holdout->low.value_or(target.holdout->mean));
  }
  return least;
}

// A bar from zero to `value`.
void draw_bar(Svg& svg, const Scale& y, double x, double width, double value,
              const std::string& hint) {
  const double zero = y.at(0);
  const double end = y.at(value);
  svg.rect(x, std::min(zero, end), width, std::max(std::abs(zero - end), 0.5),
           value < 0 ? "bar-good" : "bar", hint);
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

// Change against the pattern before the step, of every candidate of every step.
std::vector<double> step_changes(const RunView& view) {
  std::vector<double> changes;
  double before = 0;
  for (const StepView& step : view.steps) {
    for (const CandidateView& candidate : step.candidates) {
      changes.push_back(std::abs(candidate.rise - before));
    }
    before = step.rise;
  }
  std::ranges::sort(changes);
  return changes;
}

}  // namespace

Svg loss_curve(const RunView& view) {
  Svg svg(kWidth, 330, "Loss rise against the number of removed indexers");
  const Plot plot{62, 58, 462, 282};
  const auto points = view.curve();
  const std::size_t most = std::max<std::size_t>(points.back().first, 1);
  const Scale x(0, static_cast<double>(most), plot.left, plot.right, 8);
  const Scale y(axis_low(lowest(view), highest(view)), highest(view), plot.bottom, plot.top, 5);
  draw_legend(svg, 18, !view.holdout.is_null());
  draw_value_axis(svg, plot, y, kNats);
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  draw_count_axis(svg, plot, x, most, "indexers removed");
  std::vector<std::pair<double, double>> line;
  for (const auto& [count, rise] : points) {
    line.emplace_back(x.at(static_cast<double>(count)), y.at(rise));
  }
  svg.polyline(line, "greedy");
  for (std::size_t i = 1; i < points.size(); ++i) {
    svg.circle(line[i].first, line[i].second, 2.5, "greedy-dot",
               fmt::format("step {}: layer {} shared, {}", i, view.steps[i - 1].removed,
                           signed_text(points[i].second)));
  }
  if (const auto knee = view.knee()) {
    svg.circle(line[*knee].first, line[*knee].second, 7, "chosen",
               fmt::format("knee at {} removed", *knee));
    svg.text(line[*knee].first - 6, line[*knee].second - 12, "knee", "note", Anchor::end);
  }
  draw_targets(svg, view, plot, x, y);
  return svg;
}

Svg sensitivity_bars(const RunView& view) {
  Svg svg(kWidth, 270, "Loss rise when one layer alone is shared");
  const Plot plot{62, 34, 470, 222};
  double low = 0;
  double high = 1e-6;
  const auto candidates = view.sensitivity();
  for (const CandidateView& candidate : candidates) {
    low = std::min(low, candidate.rise);
    high = std::max(high, candidate.rise);
  }
  const Scale y(axis_low(low, high), high, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, kNats);
  const LayerSlots slots(plot, view.layers);
  for (const CandidateView& candidate : candidates) {
    draw_bar(svg, y, slots.center(candidate.layer) - slots.width * 0.38, slots.width * 0.76,
             candidate.rise,
             fmt::format("layer {}: {}", candidate.layer, signed_text(candidate.rise)));
  }
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  draw_layer_axis(svg, plot, view.layers, "layer");
  return svg;
}

Svg step_heatmap(const RunView& view) {
  const double rows = static_cast<double>(std::max<std::size_t>(view.steps.size(), 1));
  const double row = std::clamp(300 / rows, 3.5, 22.0);
  const Plot plot{44, 34, 470, 34 + rows * row};
  Svg svg(kWidth, plot.bottom + 78, "Change of the loss by every candidate of every step");
  const LayerSlots slots(plot, view.layers);
  const auto changes = step_changes(view);
  const double bound = changes.empty() ? 1 : std::max(changes[changes.size() * 95 / 100], 1e-9);
  CellGrid cells;
  double before = 0;
  for (std::size_t s = 0; s < view.steps.size(); ++s) {
    for (const CandidateView& candidate : view.steps[s].candidates) {
      cells.add(s, candidate.layer, diverging((candidate.rise - before) / bound));
    }
    before = view.steps[s].rise;
  }
  svg.grid(plot.left, plot.top, slots.width, row, cells);
  for (std::size_t s = 0; s < view.steps.size(); ++s) {
    svg.circle(slots.center(view.steps[s].removed), plot.top + (static_cast<double>(s) + 0.5) * row,
               std::min({row, slots.width}) * 0.32, "ring",
               fmt::format("step {}: layer {}", s + 1, view.steps[s].removed));
  }
  svg.text(4, plot.top - 12, "step", "axis");
  const auto every = static_cast<std::size_t>(std::ceil(14 / row));
  for (std::size_t s = 0; s < view.steps.size(); s += every) {
    svg.text(plot.left - 6, plot.top + (static_cast<double>(s) + 0.5) * row + 4,
             fmt::format("{}", s + 1), "tick", Anchor::end);
  }
  draw_layer_axis(svg, plot, view.layers, "layer");
  const double bar = plot.bottom + 48;
  CellGrid colors;
  for (std::size_t i = 0; i < 40; ++i) {
    colors.add(0, i, diverging((static_cast<double>(i) - 19.5) / 19.5));
  }
  svg.grid(150, bar, 4.5, 12, colors);
  svg.text(144, bar + 11, fmt::format("{:+.4f}", -bound), "tick", Anchor::end);
  svg.text(336, bar + 11, fmt::format("{:+.4f} nats", bound), "tick");
  return svg;
}

Svg sequence_bars(const Rise& rise, const std::string& title) {
  Svg svg(kWidth, 260, title);
  const Plot plot{62, 34, 470, 216};
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t s = 0; s < rise.sequences.size(); ++s) order.emplace_back(rise.sequences[s], s);
  std::ranges::sort(order);
  const double low = std::min(0.0, order.empty() ? 0.0 : order.front().first);
  const double high = std::max(1e-6, order.empty() ? 0.0 : order.back().first);
  const Scale y(axis_low(low, high), high, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, kNats);
  const double width =
      (plot.right - plot.left) / static_cast<double>(std::max<std::size_t>(order.size(), 1));
  for (std::size_t i = 0; i < order.size(); ++i) {
    draw_bar(svg, y, plot.left + (static_cast<double>(i) + 0.1) * width, width * 0.8,
             order[i].first,
             fmt::format("sequence {}: {}", order[i].second, signed_text(order[i].first)));
  }
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  svg.line(plot.left, y.at(rise.mean), plot.right, y.at(rise.mean), "mark");
  svg.text(plot.left + 4, y.at(rise.mean) - 5, fmt::format("mean {}", signed_text(rise.mean)),
           "note");
  svg.line(plot.left, plot.bottom, plot.right, plot.bottom, "frame");
  svg.text(plot.right, plot.bottom + 20, "sequences, by their rise", "axis", Anchor::end);
  return svg;
}

Svg compared_curves(const std::vector<RunView>& runs) {
  Svg svg(kWidth, 330 + 18 * static_cast<double>(runs.size()), "Loss rise of several runs");
  const Plot plot{62, 34, 462, 272};
  double low = 0;
  double high = 1e-6;
  std::size_t most = 1;
  for (const RunView& run : runs) {
    low = std::min(low, lowest(run));
    high = std::max(high, highest(run));
    most = std::max(most, run.curve().back().first);
  }
  const Scale x(0, static_cast<double>(most), plot.left, plot.right, 8);
  const Scale y(axis_low(low, high), high, plot.bottom, plot.top, 5);
  draw_value_axis(svg, plot, y, kNats);
  svg.line(plot.left, y.at(0), plot.right, y.at(0), "zero");
  draw_count_axis(svg, plot, x, most, "indexers removed");
  static constexpr const char* kLines[] = {"greedy", "held", "uniform"};
  for (std::size_t r = 0; r < runs.size(); ++r) {
    std::vector<std::pair<double, double>> line;
    for (const auto& [count, rise] : runs[r].curve()) {
      line.emplace_back(x.at(static_cast<double>(count)), y.at(rise));
    }
    svg.polyline(line, kLines[r % 3]);
    // Beyond three runs a number tells the lines apart.
    const std::string number = fmt::format("{}", r + 1);
    svg.text(line.back().first + 5, line.back().second + 4 + 12 * static_cast<double>(r / 3),
             number, "note");
    const double row = plot.bottom + 56 + 18 * static_cast<double>(r);
    svg.line(12, row - 4, 34, row - 4, kLines[r % 3]);
    svg.text(40, row,
             fmt::format("{}  {}", number, runs[r].folder.size() > 48 ? "…" : runs[r].folder),
             "note");
  }
  return svg;
}

}  // namespace indexcache
