// SPDX-License-Identifier: Apache-2.0
// The program under mpirun, on the CPU of one machine.
#include "core/shell_quote.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Clock = std::chrono::steady_clock;

// Segments, greedy and swaps, all of them in races.
std::vector<std::string> arguments(const std::string& tokens, const std::filesystem::path& output) {
  return {"run", data("dsa-mini"), "-c",       tokens, "--holdout",     "0.25",      "--keep", "12",
          "-o",  output,           "--device", "cpu",  "--race-greedy", "--threads", "1"};
}

struct Job {
  int ranks;
  std::filesystem::path folder;  // for what it says, and where its processes leave their ids
  std::vector<std::string> arguments;

  std::filesystem::path file(const std::string& name, int rank) const {
    return folder / fmt::format("{}.{}", name, rank);
  }
  std::string log() const { return read_file(folder / "log"); }
};

// Runs a script of bash on every rank; the exit code of mpirun.
int launch_script(const Job& job, const std::string& script) {
  std::filesystem::create_directories(job.folder);
  return shell(fmt::format(
      "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 SOURCE_DATE_EPOCH=1700000000 "
      "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_odls_base_sigkill_timeout=5 {} -np {} bash -c "
      "{} > {}/log 2>&1",
      INDEXCACHE_MPIRUN, job.ranks, shell_quoted(script), shell_quoted(job.folder.string())));
}

// Runs the program on every rank; each leaves its process id and exit code.
int launch(const Job& job) {
  // A shell around each rank passes the launcher's signal on, and lives until its rank has ended.
  return launch_script(
      job, fmt::format("note() {{ echo $2 > {}/$1.$OMPI_COMM_WORLD_RANK; }}\n"
                       "trap 'kill -TERM $child' TERM\n"
                       "{} & child=$!\n"
                       "note pid $child\n"
                       "wait $child; code=$?\n"
                       "while kill -0 $child 2>/dev/null; do wait $child; code=$?; done\n"
                       "note code $code\nexit $code",
                       shell_quoted(job.folder.string()), command_line(job.arguments)));
}

std::optional<int> number_in(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return std::nullopt;
  const std::string text = read_file(file);
  return text.empty() || text.back() != '\n' ? std::nullopt : std::optional(std::stoi(text));
}

std::size_t lines_of(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return 0;
  const std::string text = read_file(file);
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

// Launches it and sends a signal to one rank as soon as the journal has so many lines.
int launch_and_signal(const Job& job, std::size_t lines, int victim, int signal) {
  int code = -1;
  std::atomic<bool> ended{false};
  std::jthread launcher([&] {
    code = launch(job);
    ended = true;
  });
  const std::filesystem::path output = *(std::ranges::find(job.arguments, std::string("-o")) + 1);
  while (!ended && lines_of(output / "journal.jsonl") < lines) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  const auto process = number_in(job.file("pid", victim));
  if (!ended && process) kill(*process, signal);
  launcher.join();
  return code;
}

}  // namespace

TEST_CASE("2, 3 and 4 ranks write the files of one process") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 160, 6);
  REQUIRE(run_tool(arguments(tokens, folder / "one"), kFixedTime).code == 0);
  for (const int ranks : {2, 3, 4}) {
    const std::string name = fmt::format("{} ranks", ranks);
    const Job job{ranks, folder / (name + " job"), arguments(tokens, folder / name)};
    const int code = launch(job);
    INFO(job.log());
    REQUIRE(code == 0);
    CHECK(run_results_of(folder / name) == run_results_of(folder / "one"));
    for (int rank = 0; rank < ranks; ++rank) CHECK(number_in(job.file("code", rank)) == 0);
    // Rank 0 alone narrates and prints.
    const std::string log = job.log();
    CHECK(log.find("all-Full loss") == log.rfind("all-Full loss"));
  }
}

TEST_CASE("eval on several ranks prints what one process prints") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 160, 3);
  const std::vector<std::string> eval = {"eval",   data("dsa-mini"), "uniform:4", "overlap:6",
                                         "-c",     tokens,           "--device",  "cpu",
                                         "--json", "--quiet"};
  const ProcessResult alone = run_tool(eval);
  const Job job{3, folder / "job", eval};
  REQUIRE(launch(job) == 0);
  CHECK(job.log() == alone.out);
}

TEST_CASE("a misspelled variable is named once, not by every rank") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 160, 3);
  const Job job{
      3, folder / "job", {"eval", data("dsa-mini"), "uniform:4", "-c", tokens, "--device", "cpu"}};
  REQUIRE(launch_script(job, "INDEXCACHE_PRECISON=fp32 " + command_line(job.arguments)) == 0);
  const std::string log = job.log();
  CHECK_THAT(log, Contains("did you mean INDEXCACHE_PRECISION?"));
  CHECK(log.find("PRECISON") == log.rfind("PRECISON"));
}

TEST_CASE(
    "a killed rank ends the job with exit 4 and its name, and any number of ranks continues") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 160, 6);
  REQUIRE(run_tool(arguments(tokens, folder / "whole"), kFixedTime).code == 0);
  std::size_t lines = 4;
  int killed = 0;
  for (const auto& [ranks, victim] : {std::pair{3, 2}, {2, 1}, {4, 1}}) {
    const Job job{ranks, folder / fmt::format("job {}", ranks),
                  arguments(tokens, folder / "parts")};
    const auto began = Clock::now();
    const int code = launch_and_signal(job, lines, victim, SIGKILL);
    CHECK(Clock::now() - began < std::chrono::minutes(5));  // it does not hang
    lines = lines_of(folder / "parts/journal.jsonl") + 4;
    INFO(job.log());
    if (code == 0) continue;  // it had ended
    ++killed;
    CHECK_THAT(job.log(), Contains(fmt::format("rank {} was lost", victim)));
    for (int rank = 0; rank < ranks; ++rank) {
      if (rank != victim) CHECK(number_in(job.file("code", rank)) == 4);
    }
  }
  CHECK(killed >= 2);
  const Job last{2, folder / "last", arguments(tokens, folder / "parts")};
  REQUIRE(launch(last) == 0);
  CHECK(run_results_of(folder / "parts") == run_results_of(folder / "whole"));
}

TEST_CASE("rank 0 that is killed leaves no rank behind, and its journal continues") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 160, 6);
  const Job job{3, folder / "job", arguments(tokens, folder / "out")};
  CHECK(launch_and_signal(job, 6, 0, SIGKILL) != 0);
  INFO(job.log());
  CHECK_THAT(job.log(), Contains("rank 0 was lost"));
  for (const int rank : {1, 2}) CHECK(number_in(job.file("code", rank)) == 4);
  const std::string kept = read_file(folder / "out/journal.jsonl");
  const Job again{2, folder / "again", arguments(tokens, folder / "out")};
  REQUIRE(launch(again) == 0);
  CHECK(read_file(folder / "out/journal.jsonl").starts_with(kept.substr(0, kept.rfind('\n') + 1)));
}

TEST_CASE("SIGTERM ends all ranks and keeps what is finished") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 160, 6);
  const Job job{3, folder / "job", arguments(tokens, folder / "out")};
  CHECK(launch_and_signal(job, 6, 0, SIGTERM) != 0);
  INFO(job.log());
  CHECK_THAT(job.log(), Contains("interrupted: finished waves are kept"));
  CHECK(number_in(job.file("code", 0)) == 143);
  const Job again{2, folder / "again", arguments(tokens, folder / "out")};
  CHECK(launch(again) == 0);
}

TEST_CASE("a rank with other tokens is refused before anything is written") {
  const TempFolder folder;
  const std::filesystem::path tokens = short_tokens(folder, 160, 4);
  for (const int rank : {0, 1, 2}) {
    std::filesystem::copy_file(tokens, folder / fmt::format("tokens{}.jsonl", rank));
  }
  std::string text = read_file(tokens);
  const std::size_t digit = text.find_first_of("123456789", text.find('['));
  text[digit] = text[digit] == '1' ? '2' : '1';
  write_text(folder / "tokens2.jsonl", text);
  const Job job{3, folder / "job", arguments("@TOKENS@", folder / "out")};
  std::string line = command_line(job.arguments);
  const std::string quoted = shell_quoted("@TOKENS@");
  line.replace(line.find(quoted), quoted.size(),
               shell_quoted((folder / "tokens").string()) + "$OMPI_COMM_WORLD_RANK.jsonl");
  const int code = launch_script(job, line);
  INFO(job.log());
  CHECK(code != 0);
  CHECK_THAT(job.log(), Contains("calibration tokens sha256 differs") && Contains("rank 2 ("));
  CHECK_FALSE(std::filesystem::exists(folder / "out/journal.jsonl"));
}

TEST_CASE("what one rank cannot read is reported once, with its name") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 160, 4);
  const Job job{2, folder / "job", arguments(tokens, folder / "out")};
  const int code =
      launch_script(job, "[ $OMPI_COMM_WORLD_RANK = 0 ] || export INDEXCACHE_CPU_ISA=none; " +
                             command_line(job.arguments));
  const std::string log = job.log();
  INFO(log);
  CHECK(code != 0);
  CHECK_THAT(log, Contains("rank 1: "));
  CHECK(log.find("error: ") == log.rfind("error: "));
}

TEST_CASE("trained indexers stay in one process") {
  const TempFolder folder;
  const std::string tokens = short_tokens(folder, 160, 4);
  auto run = arguments(tokens, folder / "out");
  run.insert(run.end(), {"--distill", tokens});
  const Job job{2, folder / "job", run};
  CHECK(launch(job) != 0);
  INFO(job.log());
  CHECK_THAT(job.log(), Contains("--distill runs in one process"));
  const Job alone{2,
                  folder / "alone",
                  {"distill", data("dsa-mini"), "-c", tokens, "-p", "uniform:4", "--device", "cpu",
                   "-o", folder / "distilled"}};
  CHECK(launch(alone) != 0);
  const std::string log = alone.log();
  INFO(log);
  CHECK_THAT(log, Contains("distill runs in one process") && Contains("2 ranks"));
  CHECK(log.find("error: ") == log.rfind("error: "));
  CHECK_FALSE(std::filesystem::exists(folder / "distilled"));
}
