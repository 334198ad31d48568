// SPDX-License-Identifier: Apache-2.0
#include "core/pattern.h"

#include "core/error.h"
#include "support/catch.h"

using namespace indexcache;

TEST_CASE("a pattern round-trips and knows its donors") {
  const Pattern pattern = Pattern::parse("FSSFSF");
  CHECK(pattern.text() == "FSSFSF");
  CHECK(pattern.full_count() == 3);
  CHECK(pattern.full_layers() == std::vector<std::size_t>{0, 3, 5});
  CHECK(pattern.shared_layers() == std::vector<std::size_t>{1, 2, 4});
  CHECK(pattern.donor(0) == 0);
  CHECK(pattern.donor(2) == 0);
  CHECK(pattern.donor(4) == 3);
  CHECK(pattern.with_shared(3).text() == "FSSSSF");
}

TEST_CASE("uniform interleaving gives the published layers") {
  CHECK(Pattern::uniform(16, 4).text() == "FSSSFSSSFSSSFSSS");
  CHECK(Pattern::uniform(5, 9).text() == "FSSSS");
}

TEST_CASE("a wrong character, an S in front and an empty pattern are refused") {
  CHECK_THROWS_AS(Pattern::parse(""), InputError);
  CHECK_THROWS_AS(Pattern::parse("SFF"), InputError);
  try {
    Pattern::parse("FFxS", "here");
    FAIL();
  } catch (const InputError& error) {
    CHECK(error.problem().where == "here");
    CHECK(error.problem().why.find("letter 3 of") != std::string::npos);
  }
  CHECK_THROWS_AS(Pattern::parse("FFFF").with_shared(0), InputError);
}

TEST_CASE("a pattern must fit the layers and the indexers that exist") {
  const Pattern pattern = Pattern::parse("FFSS");
  CHECK_NOTHROW(check_fits(pattern, {true, true, false, false}, ""));
  CHECK_THROWS_AS(check_fits(pattern, {true, true, true}, ""), InputError);
  CHECK_THROWS_AS(check_fits(pattern, {true, false, true, true}, ""), InputError);
}
