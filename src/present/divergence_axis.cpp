// SPDX-License-Identifier: Apache-2.0
#include "present/divergence_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace indexcache {
namespace {

constexpr double kLogarithmicRatio = 30;
constexpr int kMostExponent = 300;  // what a number may have, without subnormal ones

// Powers of ten and, over few decades, 2 and 5 times them: from the last one that is not above
// `low` to the first one that is not below `high`.
std::vector<double> logarithmic_ticks(double low, double high) {
  const int first = static_cast<int>(std::floor(std::log10(low) + 1e-9));
  const int last = static_cast<int>(std::ceil(std::log10(high) - 1e-9));
  std::vector<double> ticks;
  if (high / low > 1000) {
    const int step = (last - first + 5) / 6;
    for (int power = first; power < last + step; power += step) {
      ticks.push_back(std::pow(10.0, power));
    }
    return ticks;
  }
  for (int power = first; power <= last; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) ticks.push_back(factor * std::pow(10.0, power));
  }
  while (ticks.size() > 2 && ticks[1] <= low) ticks.erase(ticks.begin());
  while (ticks.size() > 2 && ticks[ticks.size() - 2] >= high) ticks.pop_back();
  return ticks;
}

bool is_wide(const DivergenceBounds& bounds) {
  return bounds.low > std::pow(10.0, -kMostExponent) &&
         bounds.high < std::pow(10.0, kMostExponent) &&
         bounds.high / bounds.low > kLogarithmicRatio;
}

}  // namespace

DivergenceAxis::DivergenceAxis(const DivergenceBounds& bounds, const Plot& plot)
    : logarithmic_(is_wide(bounds)), bottom_(plot.bottom), top_(plot.top) {
  if (logarithmic_) {
    ticks_ = logarithmic_ticks(bounds.low, bounds.high);
    low_ = std::log10(ticks_.front());
    high_ = std::log10(ticks_.back());
  } else {
    ticks_ = round_ticks(0, std::max(bounds.high, 1e-9), 5);
    high_ = ticks_.back();
  }
}

double DivergenceAxis::at(double value) const {
  const double place = logarithmic_ ? std::log10(value) : value;
  return bottom_ + (place - low_) / (high_ - low_) * (top_ - bottom_);
}

void DivergenceAxis::draw(Canvas& canvas, const Plot& plot, const std::string& name) const {
  for (const double tick : ticks_) {
    canvas.line(plot.left, at(tick), plot.right, at(tick), "grid");
    canvas.text(plot.left - 6, at(tick) + 4,
                logarithmic_ ? fmt::format("{:.3g}", tick) : tick_text(tick, ticks_), "tick",
                Anchor::end);
  }
  canvas.text(4, plot.top - 12, name + (logarithmic_ ? " (logarithmic)" : ""), "axis");
}

}  // namespace indexcache
