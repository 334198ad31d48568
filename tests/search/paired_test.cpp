// SPDX-License-Identifier: Apache-2.0
#include "search/paired.h"

#include "support/catch.h"

#include <cmath>

using namespace indexcache;

TEST_CASE("a paired difference and its Student interval") {
  const std::vector<double> a = {1.1, 2.3, 3.2}, b = {1.0, 2.0, 3.0}, w = {10, 10, 10};
  const PairedDifference d = paired_difference(a, b, w);
  CHECK(d.mean == Approx(0.2));
  REQUIRE(d.ci95.has_value());
  const double half = 4.3027 * 0.1 / std::sqrt(3.0);  // s = 0.1, two degrees of freedom
  CHECK(d.ci95->first == Approx(0.2 - half));
  CHECK(d.ci95->second == Approx(0.2 + half));
  CHECK(d.per_sequence[1] == Approx(0.3));
}

TEST_CASE("weights are predicted tokens, and one sequence has no interval") {
  const std::vector<double> a = {2, 4}, b = {1, 1}, w = {30, 10};
  CHECK(paired_difference(a, b, w).mean == Approx((30 * 1 + 10 * 3) / 40.0));
  CHECK_FALSE(paired_difference(std::vector<double>{2.0}, std::vector<double>{1.0},
                                std::vector<double>{5.0})
                  .ci95.has_value());
}

TEST_CASE("Student's quantiles beyond the table") {
  CHECK(student_t_975(1) == Approx(12.7062));
  CHECK(student_t_975(31) == Approx(2.0395).epsilon(1e-4));
  CHECK(student_t_975(60) == Approx(2.0003).epsilon(1e-4));
  CHECK(student_t_975(1000000) == Approx(1.95996).epsilon(1e-5));
}
