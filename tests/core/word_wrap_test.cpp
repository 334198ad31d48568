// SPDX-License-Identifier: Apache-2.0
#include "core/word_wrap.h"

#include "support/catch.h"

using namespace indexcache;

TEST_CASE("words are wrapped at a column, and long words have a line of their own") {
  CHECK(word_wrap("one two three", 2, 9) == "one two\n  three");
  CHECK(word_wrap("one two  three", 2, 8) == "one\n  two\n  three");
  CHECK(word_wrap("a longerword b", 0, 4) == "a\nlongerword\nb");
  CHECK(word_wrap("", 4, 80).empty());
}
