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

const std::vector<std::size_t> kFirst = {1, 2};  // candidates of the first step

// Records a whole run: two steps of a three-layer search, the first in two waves.
void record_all(Journal& journal, std::size_t lines = 7) {
  const std::vector<SequenceLosses> first = {{1.0 / 7, 0.1}, {1.0 / 7 + 0.125, 0.1}};
  const auto wave = [&](std::size_t index, const std::vector<std::size_t>& layers,
                        const SequenceRange& range, std::vector<SequenceLosses> losses) {
    journal.log(index, layers).finished(range, losses);
  };
  if (lines > 1) journal.record_baseline({1.0 / 3, 0.1});
  if (lines > 2) wave(0, kFirst, {0, 1}, {{first[0][0]}, {first[1][0]}});
  if (lines > 3) wave(0, kFirst, {1, 1}, {{first[0][1]}, {first[1][1]}});
  if (lines > 4) {
    journal.record(0, choose(Pattern::parse("FFF"), {{1, first[0], 0}, {2, first[1], 0}}));
  }
  if (lines > 5) wave(1, {2}, {0, 2}, {{1.0 / 9, 2}});
  if (lines > 6) journal.record(1, choose(Pattern::parse("FSF"), {{2, {1.0 / 9, 2}, 0}}));
}

std::string example_journal(const TempFolder& folder) {
  Journal journal(folder / "j", kPrint, false);
  record_all(journal);
  return read_file(folder / "j");
}

struct Measured {
  Session<> session{golden("deepseek_v32_tiny")};
  TokenSet tokens{"x", {std::vector<std::int32_t>(40, 1), std::vector<std::int32_t>(40, 2)}};
  Evaluator evaluator = session.evaluator(tokens);
};

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

TEST_CASE("the finished waves of an unfinished step are known, and the rest is measured alone") {
  const TempFolder folder;
  {
    Journal journal(folder / "j", kPrint, false);
    record_all(journal, 3);
  }
  Journal journal(folder / "j", kPrint, false);
  CHECK(journal.steps() == 0);
  CHECK(journal.sequences_of_next_step() == 1);
  CHECK(journal.log(0, kFirst).known == std::vector<SequenceLosses>{{1.0 / 7}, {1.0 / 7 + 0.125}});
  CHECK_THROWS_AS(journal.log(0, {1}), InputError);
  CHECK_THROWS_AS(journal.log(0, {1, 3}), InputError);
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

TEST_CASE("a journal whose steps say something else than their losses is refused") {
  const TempFolder folder;
  {
    Journal journal(folder / "j", kPrint, false);
    record_all(journal, 4);
    Step wrong = choose(Pattern::parse("FFF"), {{1, {1, 1}, 0}, {2, {2, 2}, 0}});
    wrong.removed = 2;
    journal.record(0, wrong);
  }
  Measured m;
  const Journal journal(folder / "j", kPrint, false);
  CHECK_THROWS_AS(journal.replay(0, Pattern::parse("FFF"), m.evaluator), InputError);
  CHECK_THROWS_AS(journal.replay(0, Pattern::parse("FSF"), m.evaluator), InputError);
}
