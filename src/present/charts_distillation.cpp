// SPDX-License-Identifier: Apache-2.0
#include "present/charts_distillation.h"

#include "present/divergence_axis.h"
#include "present/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace indexcache {
namespace {

constexpr double kDistillationWidth = 480;
constexpr double kJudgedRow = 38;
constexpr std::size_t kMostLinePoints = 150;  // of a line: more would not be seen

using Points = std::vector<std::pair<double, double>>;

std::string nats_of(double value) {
  return fmt::format("{:+.4f}", value);
}

std::string row_value(const PairedDifference& delta) {
  if (!delta.ci95) return nats_of(delta.mean);
  return fmt::format("{}, {} to {}", nats_of(delta.mean), nats_of(delta.ci95->first),
                     nats_of(delta.ci95->second));
}

void draw_interval(Svg& svg, const Scale& x, double y, const PairedDifference& delta) {
  if (!delta.ci95) return;
  const double left = x.at(delta.ci95->first);
  const double right = x.at(delta.ci95->second);
  svg.line(left, y, right, y, "held");
  svg.line(left, y - 4, left, y + 4, "held");
  svg.line(right, y - 4, right, y + 4, "held");
}

void draw_row(Svg& svg, const Scale& x, double top, const std::string& name,
              const JudgedPattern& judged) {
  const PairedDifference& delta = judged.measured.delta;
  svg.text(4, top + 15, name, "note");
  svg.text(4, top + 30, row_value(delta), "tick");
  const double zero = x.at(0);
  const double end = x.at(delta.mean);
  const bool trained = judged.name == "pattern" && judged.indexers != "checkpoint";
  svg.rect(std::min(zero, end), top + 8, std::max(std::abs(end - zero), 0.5), kJudgedRow - 16,
           trained ? "bar" : "bar-before", name + ": " + row_value(delta));
  draw_interval(svg, x, top + kJudgedRow / 2, delta);
}

// Tick labels below, and a line for each tick.
void draw_grid_below(Svg& svg, const Plot& plot, const Scale& x, const std::string& name) {
  std::vector<double> positions;
  std::vector<std::string> labels;
  for (const double tick : x.ticks()) {
    positions.push_back(x.at(tick));
    labels.push_back(tick_text(tick, x.ticks()));
    svg.line(x.at(tick), plot.top, x.at(tick), plot.bottom, "grid");
  }
  draw_category_axis(svg, plot, positions, labels, name);
}

// A place on the axis of steps, and a divergence.
struct StepPoint {
  double step;
  double value;
};
using StepCurve = std::vector<StepPoint>;

// Neighbors are averaged so that a line has no more than kMostLinePoints.
StepCurve thinned(const StepCurve& curve) {
  const std::size_t group = (curve.size() + kMostLinePoints - 1) / kMostLinePoints;
  if (group < 2) return curve;
  StepCurve few;
  for (std::size_t first = 0; first < curve.size(); first += group) {
    const std::size_t end = std::min(first + group, curve.size());
    StepPoint sum{0, 0};
    for (std::size_t i = first; i < end; ++i) {
      const auto share = 1 / static_cast<double>(end - first);
      sum.step += curve[i].step * share;
      sum.value += curve[i].value * share;
    }
    few.push_back(sum);
  }
  return few;
}

StepCurve mean_curve(const std::vector<TrainingPoint>& points) {
  StepCurve curve;
  for (const TrainingPoint& point : points) {
    if (point.divergences.empty()) continue;
    curve.push_back({static_cast<double>(point.step), mean_divergence(point)});
  }
  return curve;
}

StepCurve layer_curve(const std::vector<TrainingPoint>& points, std::size_t layer) {
  StepCurve curve;
  for (const TrainingPoint& point : points) {
    curve.push_back({static_cast<double>(point.step), point.divergences[layer]});
  }
  return curve;
}

// Everything that the chart of a stage draws.
struct StageCurves {
  StepCurve training;
  StepCurve validation;
  std::vector<StepCurve> layers;  // by validation; in training if there are too few validations
  bool validated = false;         // the layers' curves are of the validation

  explicit StageCurves(const TrainingStage& stage, std::size_t count)
      : training(thinned(mean_curve(stage.training))),
        validation(mean_curve(stage.validation)),
        validated(stage.validation.size() > 1) {
    for (std::size_t i = 0; i < count; ++i) {
      layers.push_back(thinned(layer_curve(validated ? stage.validation : stage.training, i)));
    }
  }

  template <typename Visit>
  void each_point(const Visit& visit) const {
    for (const StepPoint& point : training) visit(point);
    for (const StepPoint& point : validation) visit(point);
    for (const StepCurve& layer : layers) std::ranges::for_each(layer, visit);
  }
};

Points drawn(const StepCurve& curve, const Scale& x, const DivergenceAxis& y) {
  Points points;
  for (const StepPoint& point : curve) points.emplace_back(x.at(point.step), y.at(point.value));
  return points;
}

void draw_curve_legend(Svg& svg, const StageCurves& curves) {
  svg.line(12, 14, 32, 14, "greedy");
  svg.text(37, 18, "training, mean", "note greedy-text");
  svg.line(147, 14, 167, 14, "held");
  svg.circle(157, 14, 3, "held-dot");
  svg.text(172, 18, "validation, mean", "note held-text");
  svg.line(292, 14, 312, 14, "layer-line");
  svg.text(317, 18, curves.validated ? "each layer, validation" : "each layer, training", "note");
}

// Names of layers next to the ends of their lines, as far as they do not meet.
void draw_layer_names(Svg& svg, const Distillation& d, const std::vector<Points>& lines) {
  std::vector<std::size_t> order(lines.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](std::size_t i) { return lines[i].empty(); });
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return lines[i].back().second; });
  double last = -100;
  for (const std::size_t i : order) {
    const auto [x, y] = lines[i].back();
    if (y - last < 14) continue;
    svg.text(x + 6, y + 4, fmt::format("layer {}", d.layers[i].layer), "tick");
    last = y;
  }
}

// The step whose parameters a layer keeps: that of its lowest validation divergence.
void draw_kept(Svg& svg, const Distillation& d, const StageCurves& curves, std::size_t layer,
               const Points& line) {
  const StepCurve& curve = curves.layers[layer];
  if (!curves.validated || curve.empty()) return;
  const auto least = std::ranges::min_element(curve, {}, &StepPoint::value);
  const auto at = static_cast<std::size_t>(least - curve.begin());
  svg.circle(line[at].first, line[at].second, 2.5, "layer-dot",
             fmt::format("layer {} keeps step {:.0f}: {:.4f}", d.layers[layer].layer, least->step,
                         least->value));
}

// Whole steps only.
void draw_step_axis(Svg& svg, const Plot& plot, const Scale& x) {
  std::vector<double> positions;
  std::vector<std::string> labels;
  for (const double tick : x.ticks()) {
    if (tick != std::floor(tick)) continue;
    positions.push_back(x.at(tick));
    labels.push_back(fmt::format("{:.0f}", tick));
  }
  draw_category_axis(svg, plot, positions, labels, "steps done");
}

// A stripe over the layers [layer, end).
void draw_mass(Svg& svg, const LayerSlots& slots, const TrainedLayer& layer, double y,
               const std::string& css) {
  svg.line(slots.center(layer.layer) - 0.4 * slots.width, y,
           slots.center(layer.end - 1) + 0.4 * slots.width, y, css);
}

}  // namespace

double mean_divergence(const TrainingPoint& point) {
  return std::accumulate(point.divergences.begin(), point.divergences.end(), 0.0) /
         static_cast<double>(point.divergences.size());
}

bool has_mass(const TrainedLayer& layer) {
  return layer.mass_before && layer.mass_after;
}

std::vector<const JudgedPattern*> judged_rows(const Distillation& d) {
  std::vector<const JudgedPattern*> rows;
  for (const JudgedPattern& judged : d.judged) rows.push_back(&judged);
  const auto rank = [](const JudgedPattern* judged) {
    return judged->name == "pattern" ? 0 : judged->name == "uniform" ? 1 : 2;
  };
  std::ranges::stable_sort(rows, {}, rank);
  return rows;
}

std::string judged_text(const Distillation& d, const JudgedPattern& judged) {
  if (judged.indexers == "checkpoint") return judged.name + ", before training";
  const bool chosen = judged.name == "pattern" && judged.indexers == d.chosen;
  return fmt::format("{}, after {}{}", judged.name, judged.indexers, chosen ? " (chosen)" : "");
}

Svg judged_bars(const Distillation& d) {
  const auto rows = judged_rows(d);
  const Plot plot{212, 8, 456, 16 + kJudgedRow * static_cast<double>(rows.size())};
  Svg svg(kDistillationWidth, plot.bottom + 44, "Loss increase before and after training");
  double low = 0;
  double high = 1e-6;
  for (const JudgedPattern* row : rows) {
    const PairedDifference& delta = row->measured.delta;
    low = std::min({low, delta.mean, delta.ci95 ? delta.ci95->first : 0.0});
    high = std::max({high, delta.mean, delta.ci95 ? delta.ci95->second : 0.0});
  }
  const Scale x(axis_low(low, high), high, plot.left, plot.right, 4);
  draw_grid_below(svg, plot, x, "loss increase, nats per token");
  double top = plot.top + 4;
  for (const JudgedPattern* row : rows) {
    draw_row(svg, x, top, judged_text(d, *row), *row);
    top += kJudgedRow;
  }
  svg.line(x.at(0), plot.top, x.at(0), plot.bottom, "zero");
  return svg;
}

Svg training_curve(const Distillation& d, const TrainingStage& stage) {
  Svg svg(kDistillationWidth, 330, fmt::format("KL divergence by step, {} stage", stage.name));
  const Plot plot{56, 58, 418, 282};
  const StageCurves curves(stage, d.layers.size());
  double most = 1;
  DivergenceBounds bounds;
  curves.each_point([&](const StepPoint& point) {
    most = std::max(most, point.step);
    bounds.add(point.value);
  });
  const Scale x(0, most, plot.left, plot.right, 6);
  const DivergenceAxis y(bounds, plot);
  draw_curve_legend(svg, curves);
  y.draw(svg, plot, "KL divergence, nats per query");
  draw_step_axis(svg, plot, x);
  std::vector<Points> lines;
  for (const StepCurve& layer : curves.layers) {
    lines.push_back(drawn(layer, x, y));
    svg.polyline(lines.back(), "layer-line");
  }
  for (std::size_t i = 0; i < lines.size(); ++i) draw_kept(svg, d, curves, i, lines[i]);
  const Points training = drawn(curves.training, x, y);
  svg.polyline(training, "greedy");
  if (training.size() == 1) svg.circle(training[0].first, training[0].second, 3, "greedy-dot");
  const Points validation = drawn(curves.validation, x, y);
  svg.polyline(validation, "held");
  for (std::size_t i = 0; i < validation.size(); ++i) {
    svg.circle(
        validation[i].first, validation[i].second, 3, "held-dot",
        fmt::format("step {:.0f}: {:.4f}", curves.validation[i].step, curves.validation[i].value));
  }
  draw_layer_names(svg, d, lines);
  return svg;
}

Svg attention_mass(const Distillation& d) {
  Svg svg(kDistillationWidth, 280,
          "Attention on the selected positions, before and after training");
  const Plot plot{62, 58, 470, 232};
  const Scale y(0, 100, plot.bottom, plot.top, 5);
  svg.line(12, 14, 32, 14, "uniform");
  svg.text(37, 18, "before", "note uniform-text");
  svg.line(107, 14, 127, 14, "greedy");
  svg.text(132, 18, "after training", "note greedy-text");
  draw_value_axis(svg, plot, y, "attention on the selected positions, %");
  const LayerSlots slots(plot, d.model.layers);
  for (const TrainedLayer& layer : d.layers) {
    if (!has_mass(layer)) continue;
    const double before = y.at(100 * *layer.mass_before);
    const double after = y.at(100 * *layer.mass_after);
    const double middle = (slots.center(layer.layer) + slots.center(layer.end - 1)) / 2;
    svg.line(middle, before, middle, after, "frame");
    draw_mass(svg, slots, layer, before, "uniform");
    draw_mass(svg, slots, layer, after, "greedy");
  }
  draw_layer_axis(svg, plot, d.model.layers, "layers that a trained indexer serves");
  return svg;
}

}  // namespace indexcache
