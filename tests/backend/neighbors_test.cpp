// SPDX-License-Identifier: Apache-2.0
// Counts of what the sets of neighboring queries have in common, against the standard library's set
// operations.
#include "support/neighbors.h"

#include "backend/cpu/cpu_backend.h"
#include "support/catch.h"

#include <algorithm>
#include <iterator>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Set = std::vector<std::int32_t>;

Set set_of(const NeighborCase& c, std::int64_t row) {
  const auto begin = c.sets.begin() + row * c.k;
  return {begin, begin + c.k};
}

std::int64_t common(const Set& a, const Set& b) {
  Set both;
  std::ranges::set_intersection(a, b, std::back_inserter(both));
  return static_cast<std::int64_t>(both.size());
}

std::int64_t united(const NeighborCase& c, std::int64_t first_row, std::int64_t count) {
  Set all;
  for (std::int64_t row = first_row; row < first_row + count; ++row) {
    Set more;
    std::ranges::set_union(all, set_of(c, row), std::back_inserter(more));
    all = std::move(more);
  }
  return static_cast<std::int64_t>(all.size());
}

std::vector<std::int64_t> expected(const NeighborCase& c) {
  const std::size_t columns = c.distances.size() + c.groups.size();
  std::vector<std::int64_t> counts(c.bucket_ends.size() * columns, 0);
  for (const Segment& segment : c.rows.segments) {
    const auto bucket = [&](std::int64_t i) {
      std::size_t b = 0;
      while (segment.position(i) >= c.bucket_ends[b]) ++b;
      return counts.begin() + static_cast<std::ptrdiff_t>(b * columns);
    };
    for (std::size_t d = 0; d < c.distances.size(); ++d) {
      for (std::int64_t i = c.distances[d]; i < segment.rows; ++i) {
        const std::int64_t row = segment.first_row + i;
        bucket(i)[static_cast<std::ptrdiff_t>(d)] +=
            common(set_of(c, row), set_of(c, row - c.distances[d]));
      }
    }
    for (std::size_t g = 0; g < c.groups.size(); ++g) {
      const std::int64_t size = c.groups[g];
      for (std::int64_t i = 0; i + size <= segment.rows; i += size) {
        bucket(i + size - 1)[static_cast<std::ptrdiff_t>(c.distances.size() + g)] +=
            united(c, segment.first_row + i, size);
      }
    }
  }
  return counts;
}

}  // namespace

TEST_CASE("neighboring queries share what the set operations say, with any number of threads") {
  std::vector<NeighborCase> cases = {neighbor_case({600, 0, 1, 131, 17}, 12, 12),
                                     neighbor_case({300, 2}, 1, 1),
                                     neighbor_case({270}, 9, 5000, 3)};
  cases.push_back(cases.front());
  cases.back().distances = {300, 2, 2};
  cases.back().groups = {5, 1, 3, 600};
  for (const NeighborCase& c : cases) {
    INFO("k " << c.k << ", " << c.rows.total << " rows");
    const auto counts = expected(c);
    CHECK(std::ranges::any_of(counts, [](std::int64_t count) { return count > 0; }));
    for (const int threads : {1, 3}) {
      CpuBackend backend(threads);
      CHECK(c.counts(backend) == counts);
    }
  }
}

TEST_CASE("equal neighbors share everything, and no row or column is no count") {
  CpuBackend backend;
  NeighborCase c = neighbor_case({9}, 4, 4);
  for (std::size_t i = 0; i < c.sets.size(); ++i) c.sets[i] = static_cast<std::int32_t>(i % 4);
  c.bucket_ends = {100};
  CHECK(c.counts(backend) == std::vector<std::int64_t>{8 * 4, 0, 0, 4 * 4, 2 * 4, 4});
  c.distances = {};
  c.groups = {};
  CHECK(c.counts(backend).empty());
  CHECK(neighbor_case({}, 4, 4).counts(backend) == std::vector<std::int64_t>(3 * 6, 0));
}
