// SPDX-License-Identifier: Apache-2.0
#include "search/v4_mini_case.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE(
    "v4-mini: losses of all patterns are PyTorch's, and strategies find the best of each size") {
  check_v4_mini<CpuBackend>();
}

TEST_CASE("v4-mini: overlaps of its indexers are PyTorch's") {
  check_v4_mini_overlap<CpuBackend>();
}
