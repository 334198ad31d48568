// SPDX-License-Identifier: Apache-2.0
#include "search/journal.h"

#include "core/error.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/session.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

const Fingerprint kPrint = {{"model", "m"}, {"calibration tokens sha256", "c"}};

Step example_step(const Pattern& before, double first) {
  return choose(before, {{1, {first, 0.1}, 0}, {2, {first + 0.125, 0.1}, 0}});
}

// Two steps of a three-layer search, as the journal keeps them.
std::string example_journal(const TempFolder& folder) {
  Journal journal(folder / "j", kPrint, false);
  journal.record_baseline({1.0 / 3, 0.1});
  const Step first = example_step(Pattern::parse("FFF"), 1.0 / 7);
  journal.record(0, first);
  journal.record(1, choose(Pattern::parse("FSF"), {{2, {1.0 / 9, 2}, 0}}));
  return read_file(folder / "j");
}

struct Measured {
  Session<> session{golden("deepseek_v32_tiny")};
  TokenSet tokens{"x", {std::vector<std::int32_t>(40, 1), std::vector<std::int32_t>(40, 2)}};
  Evaluator evaluator = session.evaluator(tokens);
};

std::string refusal(const TempFolder& folder, const std::string& text) {
  write_text(folder / "j", text);
  try {
    const Journal journal(folder / "j", kPrint, false);
    return "accepted";
  } catch (const InputError& error) {
    return error.describe();
  }
}

}  // namespace

TEST_CASE("what was recorded is replayed bit for bit") {
  const TempFolder folder;
  example_journal(folder);
  Measured m;
  const Journal journal(folder / "j", kPrint, false);
  CHECK_FALSE(journal.dropped_torn_line());
  REQUIRE(journal.baseline().has_value());
  CHECK(*journal.baseline() == SequenceLosses{1.0 / 3, 0.1});
  CHECK(journal.steps() == 2);
  const auto step = journal.replay(0, Pattern::parse("FFF"), m.evaluator);
  REQUIRE(step.has_value());
  CHECK(step->removed == 1);
  CHECK(step->candidates[1].losses == SequenceLosses{1.0 / 7 + 0.125, 0.1});
  CHECK(step->loss == m.evaluator.mean({1.0 / 7, 0.1}));
  CHECK_FALSE(journal.replay(2, Pattern::parse("FSS"), m.evaluator).has_value());
}

TEST_CASE("every prefix of a journal, cut at any byte, is continued to the same bytes") {
  const TempFolder folder;
  const std::string whole = example_journal(folder);
  // "created" differs with the clock; only complete lines are compared.
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    write_text(folder / "j", whole.substr(0, cut));
    const std::size_t complete = whole.rfind('\n', cut == 0 ? 0 : cut - 1);
    const std::size_t kept = cut == 0 || complete == std::string::npos ? 0 : complete + 1;
    const Journal journal(folder / "j", kPrint, false);
    REQUIRE(journal.dropped_torn_line() == (cut != kept));
    const std::string after = read_file(folder / "j");
    if (kept == 0) {
      REQUIRE(after == whole.substr(0, whole.find('\n') + 1));
    } else {
      REQUIRE(after == whole.substr(0, kept));
    }
  }
}

TEST_CASE("other settings are refused and the field is named, unless the run is restarted") {
  const TempFolder folder;
  const std::string whole = example_journal(folder);
  Fingerprint other = kPrint;
  other[1].second = "d";
  try {
    const Journal journal(folder / "j", other, false);
    FAIL();
  } catch (const ResumeMismatch& error) {
    CHECK(error.problem().why == "calibration tokens sha256 was \"c\" and is \"d\" now");
  }
  CHECK(read_file(folder / "j") == whole);
  const Journal restarted(folder / "j", other, true);
  CHECK(restarted.steps() == 0);
}

TEST_CASE("two processes do not write one journal") {
  const TempFolder folder;
  const Journal first(folder / "j", kPrint, false);
  CHECK_THROWS_AS(Journal(folder / "j", kPrint, false), ResourceError);
  CHECK_THROWS_AS(Journal(folder / "missing/j", kPrint, false), ResourceError);
}

TEST_CASE("a damaged journal is refused with the line") {
  const TempFolder folder;
  const std::string whole = example_journal(folder);
  const std::size_t second = whole.find('\n') + 1;
  const std::size_t third = whole.find('\n', second) + 1;
  CHECK_THAT(refusal(folder, "{}\n"), Contains("j:1"));
  CHECK_THAT(refusal(folder, "not json\n"), Contains("j:1"));
  CHECK_THAT(refusal(folder, whole.substr(0, second) + "{}\n"), Contains("baseline"));
  CHECK_THAT(refusal(folder, whole.substr(0, third) + whole.substr(whole.find('\n', third) + 1)),
             Contains("j:3") && Contains("step 1 is expected"));
  std::string wrong = whole;
  wrong.replace(wrong.find("\"removed\":1"), 11, "\"removed\":2");
  write_text(folder / "j", wrong);
  Measured m;
  const Journal journal(folder / "j", kPrint, false);
  CHECK_THROWS_AS(journal.replay(0, Pattern::parse("FFF"), m.evaluator), InputError);
}
