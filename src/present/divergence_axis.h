// SPDX-License-Identifier: Apache-2.0
// An axis of positive numbers: from zero, or logarithmic if they differ by orders of magnitude.
#pragma once

#include "present/scale.h"

#include <limits>
#include <string>
#include <vector>

namespace indexcache {

struct DivergenceBounds {
  double low = std::numeric_limits<double>::infinity();
  double high = 0;

  void add(double value) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
};

class DivergenceAxis {
 public:
  DivergenceAxis(const DivergenceBounds& bounds, const Plot& plot);

  bool is_logarithmic() const { return logarithmic_; }
  double at(double value) const;
  const std::vector<double>& ticks() const { return ticks_; }

  // Grid lines, tick labels and the axis' name on the left.
  void draw(Canvas& canvas, const Plot& plot, const std::string& name) const;

 private:
  bool logarithmic_ = false;
  double low_ = 0;  // of value, or of its logarithm
  double high_ = 1;
  double bottom_;
  double top_;
  std::vector<double> ticks_;
};

}  // namespace indexcache
