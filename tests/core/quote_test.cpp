// SPDX-License-Identifier: Apache-2.0
#include "core/quote.h"

#include "core/error.h"
#include "core/utf8.h"
#include "support/catch.h"

using namespace indexcache;
using indexcache::test::Contains;

TEST_CASE("an excerpt is short, escaped and around the place that matters") {
  CHECK(quote("short") == "\"short\"");
  CHECK(quote("") == "\"\"");
  CHECK(excerpt("a\nb\tc\rd\x01 e\x7F") == "a\\nb\\tc\\rd\\x01 e\\x7f");
  CHECK(excerpt("ol\xE9 \xED\xA0\x80 \xF0\x9F") == "ol\\xe9 \\xed\\xa0\\x80 \\xf0\\x9f");
  CHECK(excerpt("left\u202Eright\u200B") == "left\\u202eright\\u200b");
  CHECK(excerpt("über 中文 😀") == "über 中文 😀");
  const std::string digits = "0123456789";
  std::string text;
  for (int i = 0; i < 100; ++i) text += digits;
  CHECK(excerpt(text) == text.substr(0, 60) + "…");
  CHECK(excerpt(text, 500) == "…" + text.substr(460, 60) + "…");
  CHECK(excerpt(text, 5) == text.substr(0, 60) + "…");
  CHECK(excerpt(text, 999) == "…" + text.substr(940));
  CHECK(excerpt(text, 100000) == "…" + text.substr(940));
  CHECK(excerpt(text.substr(0, 60), 59) == text.substr(0, 60));
}

TEST_CASE("any bytes at any place give an excerpt that is valid and bounded") {
  std::string bytes;
  for (unsigned i = 0; i < 4000; ++i) bytes += static_cast<char>(i * 2654435761U >> 13);
  std::string wide;
  for (int i = 0; i < 500; ++i) wide += "😀é";
  for (const std::string& text :
       {bytes, wide, std::string(4000, '\xBF'), std::string(4000, '\0')}) {
    for (std::size_t at = 0; at <= text.size(); at += 7) {
      const std::string shown = excerpt(text, at);
      CHECK(!find_invalid_utf8(shown));
      CHECK(shown.size() <= 60 * 6 + 6);
    }
  }
}

TEST_CASE("a long text loses its middle, between characters") {
  CHECK(bounded("abc", 3) == "abc");
  const std::string cut = bounded(std::string(1000, 'a') + std::string(1000, 'z'), 100);
  CHECK(cut.size() == 100);
  CHECK_THAT(cut, Contains("aaa … zzz"));
  std::string wide;
  for (int i = 0; i < 500; ++i) wide += "😀";
  for (std::size_t bytes = 10; bytes < 40; ++bytes) {
    CHECK(bounded(wide, bytes).size() <= bytes);
    CHECK(!find_invalid_utf8(bounded(wide, bytes)));
  }
}

TEST_CASE("an error is bounded whatever its parts are") {
  const std::string flood(1 << 20, 'x');
  const InputError error({flood, flood, flood, flood});
  CHECK(error.describe().size() < 3100);
  CHECK(std::string(error.what()).size() <= 300);
}
