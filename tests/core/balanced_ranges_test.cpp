// SPDX-License-Identifier: Apache-2.0
#include "core/balanced_ranges.h"

#include "support/catch.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>

using namespace indexcache;

namespace {

using Edges = std::vector<std::size_t>;

double highest(const Edges& edges, const AddedCost& added) {
  double most = 0;
  for (std::size_t r = 0; r + 1 < edges.size(); ++r) {
    double cost = 0;
    for (std::size_t i = edges[r]; i < edges[r + 1]; ++i) cost += added(i, edges[r]);
    most = std::max(most, cost);
  }
  return most;
}

// The least that any way to cut has.
double least_highest(std::size_t items, std::size_t parts, const AddedCost& added) {
  double least = HUGE_VAL;
  const std::function<void(Edges)> cut = [&](const Edges& begun) {
    Edges whole = begun;
    whole.push_back(items);
    least = std::min(least, highest(whole, added));
    if (begun.size() == parts) return;
    for (std::size_t next = begun.back() + 1; next < items; ++next) {
      Edges more = begun;
      more.push_back(next);
      cut(more);
    }
  };
  cut({0});
  return least;
}

}  // namespace

TEST_CASE("the most expensive range costs as little as that of any cut") {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> cost(0.0, 3.0);
  for (int round = 0; round < 50; ++round) {
    const std::size_t items = 1 + random() % 9, parts = 1 + random() % 5;
    std::vector<double> first(items), next(items);
    for (std::size_t i = 0; i < items; ++i) {
      next[i] = cost(random);
      first[i] = next[i] + 2;  // what ranges share is paid by each
    }
    const AddedCost added = [&](std::size_t i, std::size_t begin) {
      return i == begin ? first[i] : next[i];
    };
    const Edges edges = balanced_ranges(items, parts, added);
    INFO(items << " items, " << parts << " parts");
    CHECK(edges.front() == 0);
    CHECK(edges.back() == items);
    CHECK(std::ranges::adjacent_find(edges, std::greater_equal()) == edges.end());
    CHECK(edges.size() <= parts + 1);
    CHECK(highest(edges, added) <= least_highest(items, parts, added) * (1 + 1e-6));
  }
}

TEST_CASE("ranges of nothing, of one part, and of more parts than items") {
  const AddedCost one = [](std::size_t, std::size_t) { return 1.0; };
  CHECK(balanced_ranges(0, 3, one) == Edges{0});
  CHECK(balanced_ranges(4, 1, one) == Edges{0, 4});
  CHECK(balanced_ranges(3, 8, one) == Edges{0, 1, 2, 3});
  CHECK(balanced_ranges(4, 2, one) == Edges{0, 2, 4});
}
