// SPDX-License-Identifier: Apache-2.0
#include "search/journal.h"

#include "core/error.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

const Fingerprint kPrint = {{"model", "m"}, {"calibration tokens sha256", "c"}};
const std::vector<Pattern> kFirst = {Pattern::parse("FSF"), Pattern::parse("FFS")};

// Records two steps of a three-layer search, the first in two waves.
void record_all(Journal& journal, std::size_t lines = 5) {
  const std::vector<std::size_t> none_but_first = {0}, second = {1}, both = {0, 1};
  if (lines > 1) journal.record_baseline({1.0 / 3, 0.1});
  if (lines > 2) {
    const std::vector<SequenceLosses> losses = {{1.0 / 7}, {1.0 / 7 + 0.125}};
    journal.record(kFirst, none_but_first, losses, 1.5);
  }
  if (lines > 3) {
    const std::vector<SequenceLosses> losses = {{0.1}, {0.1}};
    journal.record(kFirst, second, losses, 0.5);
  }
  if (lines > 4) {
    const std::vector<Pattern> last = {Pattern::parse("FSS")};
    const std::vector<SequenceLosses> losses = {{1.0 / 9, 2}};
    journal.record(last, both, losses, 1);
  }
}

std::string example_journal(const TempFolder& folder) {
  Journal journal(folder / "j", kPrint, false);
  record_all(journal);
  return read_file(folder / "j");
}

}  // namespace

TEST_CASE("what was recorded is known again bit for bit") {
  const TempFolder folder;
  example_journal(folder);
  Journal journal(folder / "j", kPrint, false);
  CHECK_FALSE(journal.dropped_torn_line());
  REQUIRE(journal.baseline().has_value());
  CHECK(*journal.baseline() == SequenceLosses{1.0 / 3, 0.1});
  const std::vector<std::size_t> both = {0, 1};
  CHECK(journal.losses().patterns() == 3);
  CHECK(journal.losses().of(kFirst[1], both) == SequenceLosses{1.0 / 7 + 0.125, 0.1});
  CHECK(journal.losses().of(Pattern::parse("FSS"), both) == SequenceLosses{1.0 / 9, 2});
  CHECK_FALSE(journal.losses().knows(Pattern::parse("FFF"), 0));
}

TEST_CASE("a journal is continued where it ends, wave by wave") {
  const TempFolder folder;
  const std::string whole = example_journal(folder);
  for (std::size_t lines = 1; lines <= 5; ++lines) {
    const TempFolder other;
    {
      Journal journal(other / "j", kPrint, false);
      record_all(journal, lines);
    }
    Journal journal(other / "j", kPrint, false);
    const std::vector<std::size_t> both = {0, 1};
    if (lines == 3) {
      CHECK(journal.losses().missing(kFirst[0], both) == std::vector<std::size_t>{1});
    }
    CHECK(journal.losses().patterns() == (lines < 3 ? 0u : lines < 5 ? 2u : 3u));
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
    CHECK(error.problem().why == "different calibration tokens: the sha256 was c … and is now d …");
  }
  CHECK(read_file(folder / "j") == whole);
  Journal restarted(folder / "j", other, true);
  CHECK(restarted.losses().patterns() == 0);
  CHECK_FALSE(restarted.baseline().has_value());
}

TEST_CASE("two processes do not write one journal") {
  const TempFolder folder;
  const Journal first(folder / "j", kPrint, false);
  CHECK_THROWS_AS(Journal(folder / "j", kPrint, false), ResourceError);
  CHECK_THROWS_AS(Journal(folder / "missing/j", kPrint, false), ResourceError);
}
