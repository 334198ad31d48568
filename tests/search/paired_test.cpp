// SPDX-License-Identifier: Apache-2.0
#include "search/paired.h"

#include "search/student_t.h"
#include "search/weighted_mean.h"
#include "support/catch.h"

#include <cmath>

using namespace indexcache;

TEST_CASE("a paired difference and its Student interval") {
  const std::vector<double> a = {1.1, 2.3, 3.2}, b = {1.0, 2.0, 3.0}, w = {10, 10, 10};
  const PairedDifference d = paired_difference(a, b, w);
  CHECK(d.mean == Approx(0.2));
  REQUIRE(d.ci95.has_value());
  const double half = 4.30265273 * 0.1 / std::sqrt(3.0);  // s = 0.1, two degrees of freedom
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

TEST_CASE("Student's quantiles are those of the tables") {
  CHECK(student_t_quantile(0.975, 1) == Approx(12.7062047));
  CHECK(student_t_quantile(0.975, 2) == Approx(4.30265273));
  CHECK(student_t_quantile(0.975, 7) == Approx(2.36462425));
  CHECK(student_t_quantile(0.975, 31) == Approx(2.0395).epsilon(1e-4));
  CHECK(student_t_quantile(0.975, 60) == Approx(2.0003).epsilon(1e-4));
  CHECK(student_t_quantile(0.975, 100000) == Approx(1.95999).epsilon(1e-5));
  CHECK(student_t_quantile(0.99, 2) == Approx(6.9646).epsilon(1e-5));
  CHECK(student_t_quantile(0.9995, 4) == Approx(8.6103).epsilon(1e-5));
  CHECK(student_t_quantile(0.5, 3) == Approx(0).margin(1e-9));
  CHECK(std::isinf(student_t_quantile(1, 3)));
}

TEST_CASE("values without weight or unknown do not count, and unequal weights widen the error") {
  const double unknown = std::nan("");
  const std::vector<double> values = {1, 5, unknown, 3}, weights = {2, 0, 2, 2};
  const WeightedMean mean = weighted_mean_of(values, weights);
  CHECK(mean.count == 2);
  CHECK(mean.weight == 4);
  CHECK(mean.mean == Approx(2));
  CHECK(*mean.error == Approx(std::sqrt(2.0) / std::sqrt(2.0)));  // s / sqrt(n)
  CHECK_FALSE(weighted_mean_of(std::vector<double>{1, 2}, std::vector<double>{1, 0}).error);
  CHECK(weighted_mean_of(std::vector<double>{}, std::vector<double>{}).count == 0);
  // One value outweighs the other by far: the mean is almost the value, its error is not small.
  const WeightedMean uneven =
      weighted_mean_of(std::vector<double>{0, 1}, std::vector<double>{1000, 1});
  CHECK(*uneven.error > 0.7);
  CHECK_FALSE(paired_difference(std::vector<double>{1, 2}, std::vector<double>{0, 0},
                                std::vector<double>{1, 0})
                  .ci95);
}
