// SPDX-License-Identifier: Apache-2.0
// Killed, interrupted, extended and repeated runs end in the bytes of an uninterrupted one.
#include "io/files.h"
#include "io/json.h"
#include "io/sealed_line.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

#include <csignal>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<std::string> arguments(const std::filesystem::path& tokens,
                                   const std::filesystem::path& output, const std::string& keep) {
  return {"run", data("dsa-mini"), "-c", tokens, "--holdout", "0.5", "--keep", keep, "-o", output};
}

}  // namespace

TEST_CASE("a run killed after every step ends in the bytes of an uninterrupted one") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160);
  const auto whole = arguments(tokens, folder / "whole", "9");
  REQUIRE(run_tool(whole, kFixedTime).code == 0);
  const auto parts = arguments(tokens, folder / "parts", "9");
  int killed = 0;
  for (std::size_t lines = 1; lines <= 9; ++lines) {  // header, baseline, seven steps
    killed += run_and_signal(parts, folder / "parts/journal.jsonl", lines, SIGKILL, kFixedTime) ==
                      128 + SIGKILL
                  ? 1
                  : 0;
  }
  CHECK(killed >= 5);  // the last ones may have finished first
  REQUIRE(run_tool(parts, kFixedTime).code == 0);
  CHECK(files_of(folder / "parts") == files_of(folder / "whole"));
}

TEST_CASE("two runs are identical, on any number of threads") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160);
  REQUIRE(run_tool(arguments(tokens, folder / "a", "14"), kFixedTime).code == 0);
  auto other = arguments(tokens, folder / "b", "14");
  other.insert(other.end(), {"--threads", "1"});
  REQUIRE(run_tool(other, kFixedTime).code == 0);
  CHECK(files_of(folder / "a") == files_of(folder / "b"));
}

TEST_CASE("only created differs without a fixed time") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160);
  REQUIRE(run_tool(arguments(tokens, folder / "a", "15")).code == 0);
  REQUIRE(run_tool(arguments(tokens, folder / "b", "15")).code == 0);
  const auto without_created = [&](const std::string& run) {
    Json json = parse_json(read_file(folder / run / "run.json"), run);
    CHECK(json["created"].contains("at"));
    CHECK(json["created"]["search_seconds"].get<double>() > 0);
    json.erase("created");
    return json;
  };
  CHECK(without_created("a") == without_created("b"));
  CHECK(read_file(folder / "a/overlap.h5") == read_file(folder / "b/overlap.h5"));
  CHECK(read_file(folder / "a/heatmap.png") == read_file(folder / "b/heatmap.png"));
}

TEST_CASE("an interrupt keeps finished steps and exits 130 or 143") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160);
  const auto run = arguments(tokens, folder / "out", "4");
  CHECK(run_and_signal(run, folder / "out/journal.jsonl", 3, SIGINT) == 130);
  CHECK(run_and_signal(run, folder / "out/journal.jsonl", 4, SIGTERM) == 143);
  const ProcessResult result = run_tool(run);
  CHECK(result.code == 0);
  CHECK_THAT(result.err, Contains("measured before"));
}

TEST_CASE("a finished run repeats its result at once, and a larger target continues it") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160);
  const auto first = run_tool(arguments(tokens, folder / "out", "15"), kFixedTime);
  const auto again = run_tool(arguments(tokens, folder / "out", "15"), kFixedTime);
  CHECK(again.code == 0);
  CHECK(again.out == first.out);
  CHECK_THAT(again.err, Contains("already finished"));
  const auto further = run_tool(arguments(tokens, folder / "out", "13"), kFixedTime);
  CHECK(further.code == 0);
  CHECK_THAT(further.err, Contains("step 1/3") && Contains("measured before"));
  REQUIRE(run_tool(arguments(tokens, folder / "direct", "13"), kFixedTime).code == 0);
  CHECK(files_of(folder / "out") == files_of(folder / "direct"));
}

TEST_CASE("a torn journal line is dropped and said") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160);
  const auto run = arguments(tokens, folder / "out", "14");
  REQUIRE(run_tool(run, kFixedTime).code == 0);
  const auto expected = files_of(folder / "out");
  write_text(folder / "out/journal.jsonl",
             expected.at("journal.jsonl").substr(0, expected.at("journal.jsonl").size() - 40));
  std::filesystem::remove(folder / "out/run.json");
  const ProcessResult result = run_tool(run, kFixedTime);
  CHECK(result.code == 0);
  CHECK_THAT(result.err, Contains("was incomplete and was dropped"));
  CHECK(files_of(folder / "out") == expected);
}

TEST_CASE("losses of another machine are not continued") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160);
  const auto run = arguments(tokens, folder / "out", "15");
  REQUIRE(run_tool(run).code == 0);
  const std::string journal = read_file(folder / "out/journal.jsonl");
  const std::size_t begin = journal.find('\n') + 1, end = journal.find('\n', begin);
  std::string baseline = unseal_line(journal.substr(begin, end - begin)).value();
  char& digit = baseline[baseline.find("p+") - 1];
  digit = digit == '1' ? '2' : '1';  // the last hexadecimal one
  write_text(folder / "out/journal.jsonl",
             journal.substr(0, begin) + seal_line(baseline) + journal.substr(end));
  std::filesystem::remove(folder / "out/run.json");
  const ProcessResult result = run_tool(run);
  CHECK(result.code == 5);
  CHECK_THAT(result.err, Contains("a different machine or build"));
}

TEST_CASE("a run that its budget ends writes what it has, and continues to the bytes of another") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160);
  REQUIRE(run_tool(arguments(tokens, folder / "whole", "14"), kFixedTime).code == 0);
  auto bounded = arguments(tokens, folder / "parts", "14");
  bounded.insert(bounded.end(), {"--budget", "0.001s"});
  const ProcessResult early = run_tool(bounded, kFixedTime);
  INFO(early.err);
  REQUIRE(early.code == 0);
  CHECK_THAT(early.out, Contains("--budget ended the search (segments) after 0 of 1 steps"));
  const Json run = parse_json(read_file(folder / "parts/run.json"), "run.json");
  CHECK(run["targets"][0]["request"] == "budget");
  CHECK(run["targets"][0]["pattern"] == std::string(16, 'F'));
  REQUIRE(run_tool(arguments(tokens, folder / "parts", "14"), kFixedTime).code == 0);
  CHECK(files_of(folder / "parts") == files_of(folder / "whole"));
}
