// SPDX-License-Identifier: Apache-2.0
#include "text/regex.h"

#include "core/error.h"
#include "core/utf8.h"
#include "support/catch.h"
#include "text/pre_tokenizer.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::string refusal(const std::string& pattern) {
  try {
    Regex(pattern, "the pattern");
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

std::vector<std::string> pieces(const std::string& pattern, SplitBehavior behavior, bool invert,
                                std::string_view text) {
  std::vector<Split> splits;
  splits.push_back({Regex(pattern, "test"), behavior, invert});
  const PreTokenizer pre_tokenizer(std::move(splits), {});
  PreTokenizer::Scratch scratch;
  std::vector<std::string> found;
  const auto cut = pre_tokenizer.cut(text, scratch);
  for (const Span& span : cut.spans) {
    found.emplace_back(cut.text.substr(span.begin, span.end - span.begin));
  }
  return found;
}

}  // namespace

TEST_CASE("patterns that PCRE2 would read in another way are refused by name") {
  CHECK_THAT(refusal("\\w+"), Contains("\\w") && Contains("byte 0") && Contains("the pattern"));
  CHECK_THAT(refusal("a\\b"), Contains("\\b"));
  CHECK_THAT(refusal("\\h"), Contains("\\h"));
  CHECK_THAT(refusal("(a)\\1"), Contains("\\1"));
  CHECK_THAT(refusal("[a[bc]]"), Contains("class inside a class"));
  CHECK_THAT(refusal("[[:alpha:]]"), Contains("class inside a class"));
  CHECK_THAT(refusal("[a-z&&[^e]]"), Contains("intersection"));
  CHECK_THAT(refusal("[^\\P{L}]"), Contains("negated property in a class"));
  CHECK_THAT(refusal("\\p{Han}"), Contains("\"Han\""));
  CHECK_THAT(refusal("\\p{C}"), Contains("\"C\""));
  CHECK_THAT(refusal("(?m)a"), Contains("group"));
  CHECK_THAT(refusal("(?<x>a)"), Contains("group"));
  CHECK_THAT(refusal("a(?i)b|c"), Contains("group"));
  CHECK_THAT(refusal("a{1,2}+"), Contains("possessive or lazy"));
  CHECK_THAT(refusal("a{,2}"), Contains("lower bound"));
  CHECK_THAT(refusal("\\xff"), Contains("raw byte"));
  CHECK_THAT(refusal("[a"), Contains("does not end"));
  CHECK_THAT(refusal("a("), Contains("at byte"));
  CHECK(refusal("(?i)a|\\p{^L}|[^\\s\\p{Lu}\\d]|\\x{1F600}|\\u00e9|^$|a++|b*?") == "accepted");
}

TEST_CASE("a split does with delimiters what its behavior says") {
  using enum SplitBehavior;
  using Pieces = std::vector<std::string>;
  CHECK(pieces("-", removed, false, "a--b-c") == Pieces{"a", "b", "c"});
  CHECK(pieces("-", isolated, false, "a--b-c") == Pieces{"a", "-", "-", "b", "-", "c"});
  CHECK(pieces("-", merged_with_previous, false, "a--b-c") == Pieces{"a-", "-", "b-", "c"});
  CHECK(pieces("-", merged_with_next, false, "a--b-c") == Pieces{"a", "-", "-b", "-c"});
  CHECK(pieces("-", contiguous, false, "a--b-c") == Pieces{"a", "--", "b", "-", "c"});
  CHECK(pieces("[a-z]", removed, true, "a--b-c") == Pieces{"a", "b", "c"});
  CHECK(pieces("x", isolated, false, "") == Pieces{});
}

TEST_CASE("the runs that backtracking patterns stumble over are matched whole") {
  const std::string spaces(2'000'000, ' ');
  const auto found =
      pieces("\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", SplitBehavior::isolated, false, spaces + "x");
  REQUIRE(found.size() == 3);
  CHECK(found[0].size() == spaces.size() - 1);
  CHECK(found[1] == " ");
  const std::string letters(2'000'000, 'a');
  CHECK(pieces("[^\\r\\n\\p{L}]?[\\p{L}\\p{M}]+", SplitBehavior::isolated, false, letters).size() ==
        1);
}

TEST_CASE("UTF-8 is checked to the byte") {
  CHECK(!find_invalid_utf8("plain, é, 中, 😀, \xF4\x8F\xBF\xBF"));
  CHECK(find_invalid_utf8("abcdefgh\xFF") == 8);
  CHECK(find_invalid_utf8("ab\xC0\x80") == 2);        // overlong
  CHECK(find_invalid_utf8("\xE0\x9F\xBF") == 0);      // overlong
  CHECK(find_invalid_utf8("x\xED\xA0\x80") == 1);     // a surrogate
  CHECK(find_invalid_utf8("\xF4\x90\x80\x80") == 0);  // above U+10FFFF
  CHECK(find_invalid_utf8("1234567\xE4\xB8") == 7);   // cut off
  CHECK(find_invalid_utf8("\xE4\xB8"
                          "a") == 0);
  CHECK(find_invalid_utf8("\x80") == 0);
  CHECK(printable_utf8("a\xFF\xE4\xB8") == "a\uFFFD\uFFFD\uFFFD");
}
