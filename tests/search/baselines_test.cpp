// SPDX-License-Identifier: Apache-2.0
#include "search/baselines.h"

#include "support/catch.h"

using namespace indexcache;

TEST_CASE("uniform patterns are periodic where they can be, and even otherwise") {
  const Pattern all = Pattern::all_full(16);
  CHECK(uniform_of_size(all, 4).text() == "FSSSFSSSFSSSFSSS");
  CHECK(uniform_of_size(all, 2).text() == "FSSSSSSSFSSSSSSS");
  CHECK(uniform_of_size(all, 16) == Pattern::all_full(16));
  CHECK(uniform_of_size(Pattern::all_full(47), 12) == Pattern::uniform(47, 4));
  for (std::size_t full = 1; full <= 16; ++full) {
    CHECK(uniform_of_size(all, full).full_count() == full);
  }
}

TEST_CASE("layers without an indexer are never F") {
  const Pattern owners = Pattern::parse("FFFSSSFS");
  CHECK(uniform_of_size(owners, 2).text() == "FSFSSSSS");
  CHECK(uniform_of_size(owners, 4).text() == "FFFSSSFS");
}
