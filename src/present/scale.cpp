// SPDX-License-Identifier: Apache-2.0
#include "present/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr double kLabelWidth = 22;  // of a two-digit label with air around it

double round_step(double span, std::size_t count) {
  const double raw = span / static_cast<double>(std::max<std::size_t>(count, 1));
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power * (1 + 1e-9)) return factor * power;
  }
  return 10 * power;
}

}  // namespace

std::vector<double> round_ticks(double low, double high, std::size_t count) {
  if (!(high > low)) high = low + 1;
  const double step = round_step(high - low, count);
  const auto first = static_cast<std::int64_t>(std::floor(low / step + 1e-9));
  const auto last = static_cast<std::int64_t>(std::ceil(high / step - 1e-9));
  std::vector<double> ticks;
  for (std::int64_t i = first; i <= last; ++i) ticks.push_back(static_cast<double>(i) * step);
  return ticks;
}

std::string tick_text(double tick, const std::vector<double>& ticks) {
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 9);
  const double shown = std::abs(tick) < step / 2 ? 0.0 : tick;
  return fmt::format("{:.{}f}", shown, decimals);
}

double axis_low(double low, double high) {
  return low > -high / 30 ? 0 : low;
}

Scale::Scale(double low, double high, double from, double to, std::size_t ticks)
    : from_(from), to_(to), ticks_(round_ticks(low, high, ticks)) {
  low_ = ticks_.front();
  high_ = ticks_.back();
}

double Scale::at(double value) const {
  return from_ + (value - low_) / (high_ - low_) * (to_ - from_);
}

void draw_value_axis(Canvas& canvas, const Plot& plot, const Scale& scale,
                     const std::string& name) {
  for (const double tick : scale.ticks()) {
    const double y = scale.at(tick);
    canvas.line(plot.left, y, plot.right, y, "grid");
    canvas.text(plot.left - 6, y + 4, tick_text(tick, scale.ticks()), "tick", Anchor::end);
  }
  canvas.text(4, plot.top - 12, name, "axis");
}

void draw_category_axis(Canvas& canvas, const Plot& plot, const std::vector<double>& positions,
                        const std::vector<std::string>& labels, const std::string& name) {
  canvas.line(plot.left, plot.bottom, plot.right, plot.bottom, "frame");
  for (std::size_t i = 0; i < positions.size(); ++i) {
    canvas.line(positions[i], plot.bottom, positions[i], plot.bottom + 4, "frame");
    canvas.text(positions[i], plot.bottom + 17, labels[i], "tick", Anchor::middle);
  }
  canvas.text(plot.right, plot.bottom + 34, name, "axis", Anchor::end);
}

LayerSlots::LayerSlots(const Plot& plot, std::size_t layers)
    : left(plot.left),
      width((plot.right - plot.left) / static_cast<double>(layers)),
      label_step(1) {
  for (const std::size_t step : {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}) {
    label_step = step;
    if (static_cast<double>(step) * width >= kLabelWidth) break;
  }
}

void draw_layer_axis(Canvas& canvas, const Plot& plot, std::size_t layers, const std::string& name,
                     const LayerNumbers& numbers) {
  const LayerSlots slots(plot, layers);
  std::vector<double> positions;
  std::vector<std::string> labels;
  for (std::size_t layer = 0; layer < layers; layer += slots.label_step) {
    positions.push_back(slots.center(layer));
    labels.push_back(fmt::format("{}", numbers.of(layer)));
  }
  draw_category_axis(canvas, plot, positions, labels, name);
}

void draw_matrix_axes(Canvas& canvas, const Plot& plot, std::size_t layers, const std::string& rows,
                      const std::string& columns, const LayerNumbers& numbers) {
  const LayerSlots slots(plot, layers);
  for (std::size_t layer = 0; layer < layers; layer += slots.label_step) {
    canvas.text(plot.left - 6, plot.top + (static_cast<double>(layer) + 0.5) * slots.width + 4,
                fmt::format("{}", numbers.of(layer)), "tick", Anchor::end);
  }
  canvas.text_upwards(11, (plot.top + plot.bottom) / 2, rows, "axis");
  draw_layer_axis(canvas, plot, layers, columns, numbers);
}

}  // namespace indexcache
