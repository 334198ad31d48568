// SPDX-License-Identifier: Apache-2.0
// The journal as a state machine: every prefix, every damaged byte, every order of its lines.
#include "search/journal_state.h"

#include "core/error.h"
#include "io/sealed_line.h"
#include "support/catch.h"

#include <algorithm>
#include <cstdlib>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Lines of a search with three sequences: two requests, the first in two waves.
std::vector<std::string> example_lines() {
  const std::vector<Pattern> first = {Pattern::parse("FSF"), Pattern::parse("FFS")};
  const std::vector<Pattern> second = {Pattern::parse("FSS")};
  const std::vector<std::size_t> front = {0, 1}, back = {2}, all = {0, 1, 2};
  const std::vector<SequenceLosses> a = {{1.25, 2.5}, {1.0 / 3, 0.1}}, b = {{4}, {5}},
                                    c = {{1, 2, 3}};
  return {header_line({{"model", "m"}, {"tokens", "t\n\"x\""}}), baseline_line({1.0 / 7, 0.1, 3}),
          losses_line(3, first, front, a, 1), losses_line(4, first, back, b, 1),
          losses_line(5, second, all, c, 1)};
}

std::string joined(const std::vector<std::string>& lines, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += lines[i];
  return text;
}

// Everything that a state holds, as text.
std::string told(const JournalState& state) {
  std::string text = state.fingerprint ? state.fingerprint->dump() : "none";
  if (state.baseline) {
    for (const double loss : *state.baseline) text += " " + hex_float(loss);
  }
  for (const char* pattern : {"FSF", "FFS", "FSS"}) {
    for (std::size_t s = 0; s < state.losses.sequences(); ++s) {
      if (!state.losses.knows(Pattern::parse(pattern), s)) continue;
      const double loss = state.losses.of(Pattern::parse(pattern), std::span(&s, 1)).front();
      text += std::string(" ") + pattern + std::to_string(s) + ":" + hex_float(loss);
    }
  }
  return text;
}

// What it says, or why it is refused.
std::string read(const std::string& text) {
  try {
    return told(read_journal(text, "j"));
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("a line knows its checksum") {
  const std::string line = seal_line(R"({"a":1})");
  CHECK(line == R"({"a":1,"crc32":"561bacaf"})");
  CHECK(unseal_line(line) == R"({"a":1})");
  CHECK_FALSE(unseal_line(R"({"a":2,"crc32":"561bacaf"})").has_value());
  CHECK_FALSE(unseal_line(R"({"a":1})").has_value());
  CHECK_FALSE(unseal_line("").has_value());
}

TEST_CASE("every prefix of every record says what its whole lines say") {
  const auto lines = example_lines();
  const std::string whole = joined(lines, lines.size());
  std::size_t complete = 0;
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    if (complete < lines.size() && cut == joined(lines, complete + 1).size()) ++complete;
    const JournalState state = read_journal(whole.substr(0, cut), "j");
    const std::string kept = joined(lines, complete);
    REQUIRE(state.lines == complete);
    REQUIRE(state.bytes == kept.size());
    REQUIRE(state.torn == (cut != kept.size()));
    REQUIRE(told(state) == told(read_journal(kept, "j")));
    // What follows may be appended after the kept part.
    REQUIRE(told(read_journal(kept + whole.substr(kept.size()), "j")) ==
            told(read_journal(whole, "j")));
  }
}

TEST_CASE("every changed byte of every record is noticed, or is a torn tail") {
  const auto lines = example_lines();
  const std::string whole = joined(lines, lines.size());
  std::vector<std::string> prefixes;
  for (std::size_t n = 0; n < lines.size(); ++n) prefixes.push_back(read(joined(lines, n)));
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int flipped : {1, 4, 32, 128, 255}) {
      std::string text = whole;
      text[at] = static_cast<char>(text[at] ^ flipped);
      const std::string result = read(text);
      INFO("byte " << at << " xor " << flipped << ": " << result);
      const bool refused = result.find("the journal is damaged") != std::string::npos;
      REQUIRE((refused || std::ranges::find(prefixes, result) != prefixes.end()));
    }
  }
}

TEST_CASE("a record that is missing, repeated or out of order is refused, if it is not the last") {
  const auto lines = example_lines();
  for (std::size_t gone = 0; gone + 1 < lines.size(); ++gone) {
    auto fewer = lines;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(gone));
    INFO("without line " << gone + 1);
    CHECK_THAT(read(joined(fewer, fewer.size())), Contains("the journal is damaged"));
  }
  for (std::size_t twice = 0; twice < lines.size(); ++twice) {
    auto more = lines;
    more.insert(more.begin() + static_cast<std::ptrdiff_t>(twice), lines[twice]);
    INFO("line " << twice + 1 << " twice");
    CHECK_THAT(read(joined(more, more.size())), Contains("the journal is damaged"));
  }
  for (std::size_t first = 0; first + 1 < lines.size(); ++first) {
    auto turned = lines;
    std::swap(turned[first], turned[first + 1]);
    INFO("lines " << first + 1 << " and " << first + 2 << " exchanged");
    CHECK_THAT(read(joined(turned, turned.size())), Contains("the journal is damaged"));
  }
}

TEST_CASE("sealed lines that cannot follow are refused with the line and the reason") {
  const auto lines = example_lines();
  const auto after = [&](std::size_t count, const std::string& object) {
    return read(joined(lines, count) + seal_line(object) + "\n");
  };
  CHECK_THAT(after(0, R"({"schema":"indexcache-journal/2"})"), Contains("j:1") && Contains("/3"));
  CHECK_THAT(read("notes of somebody\n"), Contains("j:1") && Contains("does not begin"));
  CHECK_THAT(read("{\"schema\":\"indexcache-journal/2\",\"fingerprint\":{}}\n"),
             Contains("does not begin with schema indexcache-journal/3"));
  CHECK_THAT(after(1, R"({"line":2,"sequences":[0]})"), Contains("baseline are expected"));
  CHECK_THAT(after(1, R"({"line":2,"baseline":[1.5]})"), Contains("a loss is malformed"));
  CHECK_THAT(after(2, R"({"line":5})"), Contains("line 3 is expected"));
  const auto losses = [&](const std::string& sequences, const std::string& list) {
    return after(4, R"({"line":5,"sequences":)" + sequences + R"(,"losses":)" + list + "}");
  };
  CHECK_THAT(losses("[]", "[]"), Contains("a list of sequences"));
  CHECK_THAT(losses("[0,3]", "[]"), Contains("do not ascend below 3"));
  CHECK_THAT(losses("[1,0]", "[]"), Contains("do not ascend"));
  CHECK_THAT(losses("[0]", "[]"), Contains("losses of patterns are expected"));
  CHECK_THAT(losses("[0]", R"([{"pattern":"FSS"}])"), Contains("malformed"));
  CHECK_THAT(losses("[0]", R"([{"pattern":"SSS","losses":["0x1p0"]}])"),
             Contains("is not a pattern"));
  CHECK_THAT(losses("[0]", R"([{"pattern":"FS","losses":["0x1p0"]}])"),
             Contains("different lengths"));
  CHECK_THAT(losses("[0]", R"([{"pattern":"FSS","losses":[]}])"), Contains("lacks losses"));
  CHECK_THAT(losses("[0]", R"([{"pattern":"FSF","losses":["0x1p0"]}])"),
             Contains("measured twice"));
}
