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

// Lines of a search with three sequences: two steps, the first in two waves.
std::vector<std::string> example_lines() {
  const std::vector<SequenceLosses> first = {{1.25, 2.5}, {1.0 / 3, 0.1}};
  const std::vector<SequenceLosses> rest = {{4}, {5}};
  const std::vector<SequenceLosses> second = {{1, 2, 3}};
  Step step = choose(Pattern::parse("FFF"), {{1, {1}, 1}, {2, {2}, 2}});
  std::vector<std::string> lines = {header_line({{"model", "m"}, {"tokens", "t\n\"x\""}}),
                                    baseline_line({1.0 / 7, 0.1, 3}),
                                    wave_line(0, 0, {1, 2}, first),
                                    wave_line(0, 2, {1, 2}, rest),
                                    step_line(0, step),
                                    wave_line(1, 0, {2}, second)};
  step.removed = 2;
  lines.push_back(step_line(1, step));
  return lines;
}

std::string joined(const std::vector<std::string>& lines, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += lines[i];
  return text;
}

// Everything that a state holds, as text.
std::string told(const JournalState& state) {
  std::string text = state.fingerprint ? state.fingerprint->dump() : "none";
  const auto tell = [&](const std::vector<Candidate>& candidates) {
    for (const Candidate& candidate : candidates) {
      text += " " + std::to_string(candidate.layer) + ":";
      for (const double loss : candidate.losses) text += hex_float(loss) + ",";
    }
  };
  if (state.baseline) tell({{0, *state.baseline, 0}});
  for (const RecordedStep& step : state.steps) {
    text += " step " + std::to_string(step.removed);
    tell(step.candidates);
  }
  text += " unfinished";
  tell(state.unfinished);
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
  CHECK_THAT(after(0, R"({"schema":"indexcache-journal/1"})"), Contains("j:1") && Contains("/2"));
  CHECK_THAT(read("notes of somebody\n"), Contains("j:1") && Contains("does not begin"));
  CHECK_THAT(read("{\"schema\":\"indexcache-journal/1\",\"fingerprint\":{}}\n"),
             Contains("does not begin with schema indexcache-journal/2"));
  CHECK_THAT(after(1, R"({"step":1})"), Contains("j:2") && Contains("baseline"));
  CHECK_THAT(after(1, R"({"baseline":[1.5]})"), Contains("a loss is malformed"));
  CHECK_THAT(after(1, R"({"baseline":["nan"]})"), Contains("a loss is malformed"));
  CHECK_THAT(after(2, R"({"step":2,"first":0,"candidates":[]})"), Contains("step 1 is expected"));
  CHECK_THAT(after(2, R"({"step":1,"first":1,"candidates":[]})"), Contains("sequence 0"));
  CHECK_THAT(after(2, R"({"step":1,"first":0,"candidates":[]})"), Contains("no candidates"));
  CHECK_THAT(after(2, R"({"step":1,"first":0,"candidates":[{"layer":1,"losses":[]}]})"),
             Contains("0 sequences are measured"));
  CHECK_THAT(after(2, R"({"step":1,"first":0,"candidates":[{"layer":2,"losses":["0x1p0"]},)"
                      R"({"layer":1,"losses":["0x1p0"]}]})"),
             Contains("do not ascend"));
  CHECK_THAT(after(2, R"({"step":1,"first":0,"candidates":[{"layer":1,"losses":["0x1p0"]},)"
                      R"({"layer":2,"losses":[]}]})"),
             Contains("different sequences"));
  CHECK_THAT(after(3, R"({"step":1,"first":2,"candidates":[{"layer":1,"losses":["0x1p0"]}]})"),
             Contains("different candidates"));
  CHECK_THAT(after(3, R"({"step":1,"removed":1})"), Contains("after 2 of 3 sequences"));
  CHECK_THAT(after(4, R"({"step":1,"removed":-1})"), Contains("removed"));
}
