// SPDX-License-Identifier: Apache-2.0
#include "core/nearest_name.h"

#include "support/catch.h"

using namespace indexcache;

TEST_CASE("a misspelt name finds its neighbor, a strange one finds nothing") {
  const std::vector<std::string> known = {"calibration", "holdout", "keep", "threads"};
  CHECK(nearest_name("callibration", known) == "calibration");
  CHECK(nearest_name("hold-out", known) == "holdout");
  CHECK(nearest_name("kep", known) == "keep");
  CHECK(nearest_name("temperature", known).empty());
}
