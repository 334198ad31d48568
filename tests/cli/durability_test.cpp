// SPDX-License-Identifier: Apache-2.0
// Runs that are killed, that lose their disk or that get little memory end in the bytes of an
// undisturbed one.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// A search of five steps and its refinement; the limit cuts a sweep into some 18 waves.
std::vector<std::string> search(const std::filesystem::path& tokens,
                                const std::filesystem::path& output) {
  return {"run",
          "--device",
          "cpu",
          golden("deepseek_v32_tiny"),
          "-c",
          tokens,
          "--holdout",
          "0.25",
          "--memory-limit",
          "2MiB",
          "--keep",
          "3,1",
          "--refine",
          "swap",
          "--threads",
          "1",
          "-o",
          output};
}

std::filesystem::path many_tokens(const TempFolder& folder) {
  return tiny_tokens(folder, 24, 60);
}

std::vector<std::string> joined(std::vector<std::string> arguments,
                                const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

TEST_CASE("a run killed at 20 random moments ends in the bytes of an uninterrupted one") {
  const TempFolder folder;
  const auto tokens = many_tokens(folder);
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(run_tool(search(tokens, folder / "whole"), kFixedTime).code == 0);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;
  // Several waves a step, or there is nothing between two steps to be killed in.
  const std::string journal = read_file(folder / "whole/journal.jsonl");
  REQUIRE(std::ranges::count(journal, '\n') > 50);
  std::mt19937 random(20);
  std::uniform_real_distribution<double> moment(0, whole.count());
  int killed = 0, attempts = 0;
  while (killed < 20 && attempts++ < 200) {
    if (run_and_kill(search(tokens, folder / "parts"), moment(random), kFixedTime) ==
        128 + SIGKILL) {
      ++killed;
    } else {
      REQUIRE(files_of(folder / "parts") == files_of(folder / "whole"));
      std::filesystem::remove_all(folder / "parts");
    }
  }
  CHECK(killed == 20);
  REQUIRE(run_tool(search(tokens, folder / "parts"), kFixedTime).code == 0);
  CHECK(files_of(folder / "parts") == files_of(folder / "whole"));
}

TEST_CASE(
    "a full disk at any place of the journal exits 4, and the run continues to the same bytes") {
  const TempFolder folder;
  const auto tokens = many_tokens(folder);
  REQUIRE(run_tool(search(tokens, folder / "whole"), kFixedTime).code == 0);
  const auto size = std::filesystem::file_size(folder / "whole/journal.jsonl");
  const auto parts = search(tokens, folder / "parts");
  // Blocks of 1,024 bytes are the smallest limit that shells know.
  for (std::uintmax_t blocks = 1; blocks * 1024 < size; blocks += 2) {
    const int code =
        shell("trap '' XFSZ; ulimit -f " + std::to_string(blocks) + "; " + kFixedTime.front() +
              " " + command_line(parts) + " --quiet 2>" + (folder / "err").string());
    CHECK(code == 4);
    CHECK_THAT(read_file(folder / "err"), Contains("cannot write the journal") &&
                                              Contains("same command again: it continues"));
  }
  REQUIRE(run_tool(parts, kFixedTime).code == 0);
  CHECK(files_of(folder / "parts") == files_of(folder / "whole"));
}

TEST_CASE("a small tmpfs that fills up leaves a run that continues to the same bytes") {
  if (shell("unshare -rm true 2>/dev/null") != 0) {
    WARN("no mount namespaces here: the test of file size limits stands alone");
    return;
  }
  const TempFolder folder;
  const auto tokens = many_tokens(folder);
  REQUIRE(run_tool(search(tokens, folder / "whole"), kFixedTime).code == 0);
  int continued = 0;
  for (const int kibibytes : {4, 8, 16, 28}) {
    const std::string parts = folder / ("parts" + std::to_string(kibibytes));
    const std::string disk = folder / "disk";
    // What the disk held when it was full is kept, and put on a larger one.
    const int code = shell("mkdir -p " + disk + "; unshare -rm sh -c \"mount -t tmpfs -o size=" +
                           std::to_string(kibibytes) + "k none " + disk + " && " +
                           kFixedTime.front() + " " + command_line(search(tokens, disk + "/run")) +
                           " --quiet 2>" + (folder / "err").string() + "; code=\\$?; cp -r " +
                           disk + "/run " + parts + "; exit \\$code\"");
    INFO(read_file(folder / "err"));
    CHECK(code == 4);
    CHECK_THAT(read_file(folder / "err"), Contains("cannot write"));
    const ProcessResult result = run_tool(search(tokens, parts), kFixedTime);
    REQUIRE(result.code == 0);
    continued += result.err.find("journal") != std::string::npos ? 1 : 0;
    CHECK(files_of(parts) == files_of(folder / "whole"));
  }
  CHECK(continued > 0);
}

TEST_CASE("a shard that cannot be read exits 4 with its name, and the run continues") {
  const TempFolder folder;
  const auto tokens = many_tokens(folder);
  REQUIRE(run_tool(search(tokens, folder / "whole"), kFixedTime).code == 0);
  const auto parts = joined(search(tokens, folder / "parts"), {"--weights", "disk"});
  int failed = 0;
  for (const int reads : {0, 40, 900, 5000, 20000}) {
    auto environment = kFixedTime;
    environment.insert(environment.end(), {std::string("LD_PRELOAD=") + INDEXCACHE_FAULTY_DISK,
                                           "FAULTY_READS=" + std::to_string(reads),
                                           "ASAN_OPTIONS=verify_asan_link_order=0"});
    const ProcessResult result = run_tool(parts, environment);
    INFO(result.err);
    if (result.code == 0) continue;
    ++failed;
    CHECK(result.code == 4);
    CHECK_THAT(result.err, Contains(".safetensors") && Contains("Input/output error") &&
                               Contains("same command again"));
  }
  CHECK(failed >= 3);
  REQUIRE(run_tool(parts, kFixedTime).code == 0);
  CHECK(files_of(folder / "parts") == files_of(folder / "whole"));
}

TEST_CASE("where weights wait, and half of the memory, change no result") {
  const TempFolder folder;
  const auto tokens = many_tokens(folder);
  const std::vector<std::string> run = {"run",       golden("deepseek_v32_tiny"),
                                        "-c",        tokens,
                                        "--device",  "cpu",
                                        "--threads", "1",
                                        "--holdout", "0.25",
                                        "--keep",    "1"};
  const auto in = [&](const std::string& name, const std::vector<std::string>& more) {
    const ProcessResult result =
        run_tool(joined(joined(run, {"-o", folder / name}), more), kFixedTime);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return files_of(folder / name);
  };
  const auto whole = in("whole", {});
  CHECK(in("stream", {"--weights", "stream"}) == whole);
  CHECK(in("disk", {"--weights", "disk"}) == whole);
  REQUIRE(run_tool(joined(run, {"-o", folder / "timed"})).code == 0);
  const Json timed = parse_json(read_file(folder / "timed/run.json"), "run.json");
  const auto peak = timed["created"]["memory"]["peak_bytes"].get<std::int64_t>();
  auto limited = in("limited", {"--memory-limit", std::to_string(peak / 2)});
  // More waves, so more lines that say the same.
  CHECK(limited["journal.jsonl"].size() > whole.at("journal.jsonl").size());
  limited["journal.jsonl"] = whole.at("journal.jsonl");
  CHECK(limited == whole);
}

TEST_CASE("memory that cannot do is refused with the setting to change") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 300, 4);
  const auto refusal = [&](const std::vector<std::string>& more) {
    const ProcessResult result =
        run_tool(joined({"run", "--device", "cpu", "--threads", "2", data("dsa-mini"), "-c", tokens,
                         "--keep", "14", "-o", folder / "out"},
                        more));
    return std::to_string(result.code) + " " + result.err;
  };
  CHECK_THAT(refusal({"--memory-limit", "much"}), Contains("2 ") && Contains("24GiB"));
  CHECK_THAT(refusal({"--memory-limit", "1MiB"}),
             Contains("4 ") && Contains("weights do not fit") && Contains("more than"));
  CHECK_THAT(refusal({"--memory-limit", "20MiB", "--weights", "resident"}),
             Contains("4 ") && Contains("--weights stream, or auto"));
  CHECK_THAT(refusal({"--memory-limit", "14MiB"}),
             Contains("4 ") && Contains("run does not fit") && Contains("--memory-limit"));
}
