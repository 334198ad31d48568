// SPDX-License-Identifier: Apache-2.0
// Counts of what the sets of neighboring queries have in common: integers, equal on both backends.
#include "support/neighbors.h"

#include "cuda/gpu.h"
#include "support/catch.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("GPU counts of what neighboring queries share equal the CPU's") {
  CpuBackend cpu;
  CudaBackend gpu;
  std::vector<NeighborCase> cases = {
      neighbor_case({600, 0, 1, 131, 17}, 12, 12),
      neighbor_case({300, 2}, 1, 1),
      neighbor_case({5000, 700}, 256, 256),
      neighbor_case({260}, 2048, 130000),
      neighbor_case({140}, 300, 70000, 7),
      neighbor_case({20}, 64, 3'000'000),  // longer than one window of positions
      neighbor_case({}, 4, 4)};
  cases.push_back(cases.front());
  cases.back().distances = {300, 2, 2};
  cases.back().groups = {5, 1, 3, 600};
  for (const NeighborCase& c : cases) {
    INFO("k " << c.k << ", " << c.rows.total << " rows");
    CHECK(c.counts(gpu) == c.counts(cpu));
  }
}

TEST_CASE("GPU refuses more columns than the kernel has") {
  CudaBackend gpu;
  NeighborCase c = neighbor_case({20}, 4, 4);
  c.distances.assign(kMostNeighborColumns, 1);
  CHECK_THROWS(c.counts(gpu));
}
