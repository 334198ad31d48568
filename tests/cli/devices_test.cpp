// SPDX-License-Identifier: Apache-2.0
// Runs on several devices of one process. Backends that share the processor stand for GPUs.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

#include <csignal>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Segments, greedy and swaps, all of them in races.
std::vector<std::string> arguments(const std::filesystem::path& tokens,
                                   const std::filesystem::path& output, const std::string& device) {
  return {"run", data("dsa-mini"), "-c",       tokens, "--holdout",     "0.25",      "--keep", "12",
          "-o",  output,           "--device", device, "--race-greedy", "--threads", "2"};
}

}  // namespace

TEST_CASE("1, 2 and 3 devices write the same files") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160, 6);
  REQUIRE(run_tool(arguments(tokens, folder / "one", "cpu"), kFixedTime).code == 0);
  for (const std::string device : {"cpu,cpu", "cpu,cpu,cpu"}) {
    const ProcessResult result = run_tool(arguments(tokens, folder / device, device), kFixedTime);
    INFO(result.err);
    REQUIRE(result.code == 0);
    CHECK(run_results_of(folder / device) == run_results_of(folder / "one"));
  }
}

TEST_CASE("run.json and the report say what each of several devices did") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160, 4);
  const ProcessResult result = run_tool(arguments(tokens, folder / "out", "cpu,cpu"));
  REQUIRE(result.code == 0);
  CHECK_THAT(result.err, Contains("devices: 2 computed, idle "));
  const Json run = parse_json(read_file(folder / "out/run.json"), "run.json");
  const Json& devices = run["created"]["devices"];
  REQUIRE(devices.size() == 2);
  for (const Json& device : devices) {
    CHECK(device["tasks"].get<int>() > 0);
    CHECK(device["busy_seconds"].get<double>() > 0);
  }
  CHECK(devices[1]["name"] == "CPU 1");
  CHECK(run["created"]["idle_share"].get<double>() < 1);
  CHECK_THAT(read_file(folder / "out/report.html"), Contains("; 2 devices, idle "));
  // It is read back for a new page.
  std::filesystem::remove(folder / "out/report.html");
  CHECK(run_tool(arguments(tokens, folder / "out", "cpu")).code == 0);
  CHECK_THAT(read_file(folder / "out/report.html"), Contains("; 2 devices, idle "));
  const TempFolder other;
  REQUIRE(run_tool(arguments(tokens, other / "out", "cpu")).code == 0);
  CHECK_FALSE(
      parse_json(read_file(other / "out/run.json"), "run.json")["created"].contains("devices"));
}

TEST_CASE("a run that is killed continues on another number of devices to the same bytes") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160, 6);
  REQUIRE(run_tool(arguments(tokens, folder / "whole", "cpu"), kFixedTime).code == 0);
  int killed = 0;
  std::size_t lines = 3;
  for (const std::string device : {"cpu,cpu", "cpu", "cpu,cpu,cpu"}) {
    const int code = run_and_signal(arguments(tokens, folder / "parts", device),
                                    folder / "parts/journal.jsonl", lines, SIGKILL, kFixedTime);
    killed += code == 128 + SIGKILL ? 1 : 0;
    lines += 4;
  }
  CHECK(killed >= 2);
  REQUIRE(run_tool(arguments(tokens, folder / "parts", "cpu,cpu"), kFixedTime).code == 0);
  CHECK(run_results_of(folder / "parts") == run_results_of(folder / "whole"));
}

TEST_CASE("an interrupt ends all devices, and the journal keeps what they finished") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160, 6);
  const auto run = arguments(tokens, folder / "out", "cpu,cpu");
  CHECK(run_and_signal(run, folder / "out/journal.jsonl", 3, SIGINT) == 130);
  CHECK(run_and_signal(run, folder / "out/journal.jsonl", 6, SIGTERM) == 143);
  const std::string kept = read_file(folder / "out/journal.jsonl");
  CHECK(run_tool(run).code == 0);
  CHECK(read_file(folder / "out/journal.jsonl").starts_with(kept));
}

TEST_CASE("eval and overlap print the same on several devices") {
  const TempFolder folder;
  const auto tokens = short_tokens(folder, 160, 3);
  const auto eval = [&](const std::string& device) {
    return run_tool({"eval", data("dsa-mini"), "uniform:4", "overlap:6", "-c", tokens, "--device",
                     device, "--json"});
  };
  CHECK(eval("cpu").code == 0);
  CHECK(eval("cpu").out == eval("cpu,cpu").out);
  const auto overlap = [&](const std::string& device) {
    const ProcessResult result =
        run_tool({"overlap", data("dsa-mini"), "-c", tokens, "--device", device, "--along-queries",
                  "-o", folder / "overlap", "--json"});
    CHECK(result.code == 0);
    return result.out + read_file(folder / "overlap/overlap.h5");
  };
  CHECK(overlap("cpu") == overlap("cpu,cpu,cpu"));
}

TEST_CASE("devices that cannot be used together are refused") {
  const auto refused = [&](const std::vector<std::string>& options) {
    std::vector<std::string> command = {"eval", data("dsa-mini"), "uniform:4", "-c",
                                        data("dsa-mini/calibration.h5")};
    command.insert(command.end(), options.begin(), options.end());
    return run_tool(command);
  };
  const ProcessResult mixed = refused({"--device", "cpu,cuda"});
  CHECK(mixed.code == 2);
  CHECK_THAT(mixed.err, Contains("unknown device \"cpu,cuda\""));
  const ProcessResult many = refused({"--device", "cuda:0,1", "--gpus", "3"});
  CHECK(many.code == 4);
  CHECK_THAT(many.err, Contains("there are not 3 GPUs") && Contains("2 GPUs are named"));
}
