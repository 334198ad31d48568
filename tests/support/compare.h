// SPDX-License-Identifier: Apache-2.0
// Comparison of arrays that says where the worst element is.
#pragma once

#include "support/catch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace indexcache::test {

// Empty when max|a - b| <= rtol * max|b|; otherwise what and where.
template <typename T>
std::string difference(const std::vector<T>& actual, const std::vector<T>& expected, double rtol) {
  if (actual.size() != expected.size()) {
    return fmt::format("{} elements, {} expected", actual.size(), expected.size());
  }
  double largest = 0;
  double worst = -1;
  std::size_t at = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(actual[i])) return fmt::format("element {} is {}", i, actual[i]);
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (error > worst) worst = error, at = i;
  }
  if (worst <= rtol * largest) return "";
  return fmt::format("element {}: {} instead of {} ({:.2e} of the largest)", at, actual[at],
                     expected[at], worst / largest);
}

}  // namespace indexcache::test

#define CHECK_CLOSE(actual, expected, rtol) \
  CHECK(::indexcache::test::difference(actual, expected, rtol) == "")
