// SPDX-License-Identifier: Apache-2.0
// Names of the kinds of several devices.
#include "backend/devices/make_backend.h"
#include "support/catch.h"

using namespace indexcache;

using Names = std::vector<std::string>;

TEST_CASE("kinds are named once, in alphabetical order, and those of other ranks are taken apart") {
  CHECK(kinds_of(Names{"H200", "H200"}) == "H200");
  CHECK(kinds_of(Names{"H200", "H100", "H200"}) == "H100 + H200");
  CHECK(kinds_of(Names{"H100 + H200", "A100", "H200"}) == "A100 + H100 + H200");
  CHECK(is_mixed("H100 + H200"));
  CHECK_FALSE(is_mixed("H200"));
}

TEST_CASE("processors are of one kind, whether or not kinds may be mixed") {
  const std::vector<DeviceSpec> two(2, DeviceSpec{DeviceSpec::Kind::cpu, 0});
  for (const bool mixed : {false, true}) {
    const Backends backends = make_backends(two, {}, mixed);
    REQUIRE(backends.size() == 2);
    CHECK(kinds_of(backends) == backends.front()->name());
  }
}
