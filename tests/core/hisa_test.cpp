// SPDX-License-Identifier: Apache-2.0
#include "core/hisa.h"

#include "core/error.h"
#include "support/catch.h"

using namespace indexcache;

TEST_CASE("indexers are read and written in one notation") {
  CHECK(parse_indexer("exact") == std::nullopt);
  CHECK(parse_indexer("hisa") == Hisa{128, 64});
  CHECK(parse_indexer("hisa:block=64") == Hisa{64, 64});
  CHECK(parse_indexer("hisa:blocks=32,block=256") == Hisa{256, 32});
  for (const char* text : {"exact", "hisa:block=16,blocks=2"}) {
    CHECK(indexer_text(parse_indexer(text)) == text);
  }
}

TEST_CASE("other indexers are refused with the reason") {
  const auto why = [](const char* text) -> std::string {
    try {
      parse_indexer(text);
    } catch (const UsageError& error) {
      CHECK(error.problem().where == "--indexer");
      return error.problem().why;
    }
    return "accepted";
  };
  CHECK(why("") == "there is no such indexer");
  CHECK(why("hisa2") == "there is no such indexer");
  CHECK(why("hisa:") == "\"\" is neither block=N nor blocks=N");
  CHECK(why("hisa:block") == "\"block\" is neither block=N nor blocks=N");
  CHECK(why("hisa:size=3") == "\"size=3\" is neither block=N nor blocks=N");
  CHECK(why("hisa:block=8,") == "\"\" is neither block=N nor blocks=N");
  CHECK(why("hisa:block=8,block=9") == "it states block twice");
  CHECK(why("hisa:block=0") == "block is a whole number from 1 to 65536");
  CHECK(why("hisa:block=8x") == "block is a whole number from 1 to 65536");
  CHECK(why("hisa:block=99999999999999999999") == "block is a whole number from 1 to 65536");
  CHECK(why("hisa:blocks=1") == "blocks is a whole number from 2 to 1048576");
}

TEST_CASE("blocks of HISA must hold as many tokens as the model selects, for every query") {
  CHECK_NOTHROW(check_fits(Hisa{128, 64}, 2048));
  CHECK_NOTHROW(check_fits(Hisa{128, 17}, 2048));
  CHECK_NOTHROW(check_fits(Hisa{1, 2048}, 2048));
  CHECK_THROWS_AS(check_fits(Hisa{128, 16}, 2048), UsageError);
  try {
    check_fits(Hisa{100, 3}, 2048);
    FAIL("accepted");
  } catch (const UsageError& error) {
    CHECK(error.problem().remedy == "at least 22 blocks of this size");
  }
  CHECK_NOTHROW(check_fits(Hisa{100, 22}, 2048));
}
