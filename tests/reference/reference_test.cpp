// SPDX-License-Identifier: Apache-2.0
// Minutes long on a CPU: ctest label "slow".
#include "search/reference_case.h"

using namespace indexcache;
using namespace indexcache::test;

TEST_CASE("dsa-mini: full loss, overlap and the whole greedy trace of the reference") {
  check_reference_search<CpuBackend>();
}

TEST_CASE("dsa-mini: held-out losses of greedy and uniform patterns") {
  check_held_out_losses<CpuBackend>();
}
