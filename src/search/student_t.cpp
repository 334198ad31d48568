// SPDX-License-Identifier: Apache-2.0
#include "search/student_t.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace indexcache {
namespace {

// P(|T| <= t) for t >= 0.
double central_probability(double t, std::size_t degrees_of_freedom) {
  const auto n = static_cast<double>(degrees_of_freedom);
  const double angle = std::atan(t / std::sqrt(n));
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const bool odd = degrees_of_freedom % 2 == 1;
  // Terms of cosine^i, i = 1, 3, … or 0, 2, … up to n - 2.
  double term = odd ? cosine : 1;
  double sum = 0;
  for (std::size_t i = odd ? 1 : 0; i + 2 <= degrees_of_freedom; i += 2) {
    sum += term;
    term *= cosine * cosine * static_cast<double>(i + 1) / static_cast<double>(i + 2);
  }
  if (!odd) return sine * sum;
  return 2 / std::numbers::pi * (angle + sine * sum);
}

}  // namespace

double student_t_quantile(double p, std::size_t degrees_of_freedom) {
  if (p >= 1) return std::numeric_limits<double>::infinity();
  const double wanted = 2 * p - 1;
  double low = 0, high = 1;
  while (central_probability(high, degrees_of_freedom) < wanted) high *= 2;
  for (;;) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) return high;
    (central_probability(middle, degrees_of_freedom) < wanted ? low : high) = middle;
  }
}

}  // namespace indexcache
