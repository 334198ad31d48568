// SPDX-License-Identifier: Apache-2.0
// Training on several devices of one process. Backends that share the processor stand for GPUs.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

const char* const kDevices[] = {"cpu,cpu", "cpu,cpu,cpu"};

// Both stages of the tiny model, whose pattern has students in three layers.
Arguments distill(const TempFolder& folder, const std::string& output, const std::string& device) {
  return {"distill",
          golden("deepseek_v32_tiny"),
          "-c",
          folder / "tokens.jsonl",
          "-p",
          "FSFSFS",
          "--holdout",
          "0.1",
          "--steps",
          "12",
          "--batch",
          "2",
          "--rate",
          "3e-3",
          "--validate-every",
          "3",
          "--sparse-steps",
          "6",
          "--save-every",
          "0.01s",
          "--threads",
          "1",
          "--device",
          device,
          "-o",
          folder / output};
}

// A search over trained segments, whose pattern is trained on in both stages.
Arguments search(const TempFolder& folder, const std::string& output, const std::string& device) {
  const std::string tokens = folder / "tokens.jsonl";
  return {"run",
          golden("deepseek_v32_tiny"),
          "-c",
          tokens,
          "--holdout",
          "0.25",
          "--keep",
          "3",
          "--strategy",
          "segments",
          "--distill",
          tokens,
          "--distill-steps",
          "8",
          "--distill-batch",
          "2",
          "--distill-finish-steps",
          "4",
          "--distill-sparse-steps",
          "4",
          "--threads",
          "1",
          "--device",
          device,
          "-o",
          folder / output};
}

// All files below a folder but the journal, whose lines come in the order in which devices finish.
std::map<std::string, std::string> tree_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = std::filesystem::relative(entry.path(), folder).string();
    if (entry.is_regular_file() && name != "journal.jsonl") files[name] = read_file(entry.path());
  }
  return files;
}

void succeed(const Arguments& arguments) {
  const ProcessResult result = run_tool(arguments, kFixedTime);
  INFO(command_line(arguments) << "\n" << result.err);
  REQUIRE(result.code == 0);
}

// A command (folder, output, devices) writes the same files on one device and on several, `file`
// among them.
template <typename Command>
void check_devices(const TempFolder& folder, const Command& command, const std::string& file) {
  succeed(command(folder, "cpu", "cpu"));
  for (const std::string device : kDevices) {
    succeed(command(folder, device, device));
    CHECK(tree_of(folder / device) == tree_of(folder / "cpu"));
  }
  CHECK(tree_of(folder / "cpu").contains(file));
}

}  // namespace

TEST_CASE("distill writes the same files on 1, 2 and 3 devices") {
  const TempFolder folder;
  tiny_tokens(folder, 10, 70);
  check_devices(folder, distill, "distill.json");
}

TEST_CASE("a training that is killed continues on another number of devices to the same bytes") {
  const TempFolder folder;
  tiny_tokens(folder, 10, 70);
  const auto begin = std::chrono::steady_clock::now();
  succeed(distill(folder, "whole", "cpu"));
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;
  std::mt19937 random(3);
  std::uniform_real_distribution<double> moment(0.2 * whole.count(), whole.count());
  int killed = 0;
  for (int attempt = 0; attempt < 60 && killed < 6; ++attempt) {
    const char* device = attempt % 3 == 0 ? "cpu,cpu,cpu" : attempt % 3 == 1 ? "cpu" : "cpu,cpu";
    const int code = run_and_kill(distill(folder, "parts", device), moment(random), kFixedTime);
    if (code == 128 + SIGKILL) {
      ++killed;
      continue;
    }
    CHECK(tree_of(folder / "parts") == tree_of(folder / "whole"));
    std::filesystem::remove_all(folder / "parts");
  }
  CHECK(killed == 6);
  succeed(distill(folder, "parts", "cpu,cpu"));
  CHECK(tree_of(folder / "parts") == tree_of(folder / "whole"));
}

TEST_CASE("run --distill writes the same files on 1, 2 and 3 devices") {
  const TempFolder folder;
  tiny_tokens(folder, 12, 70);
  check_devices(folder, search, "distilled-3F/distill.json");
}

TEST_CASE("results and progress say which device trained how many indexers") {
  const TempFolder folder;
  tiny_tokens(folder, 12, 70);
  const ProcessResult trained = run_tool(distill(folder, "d", "cpu,cpu"));
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK_THAT(trained.err, Contains("indexers in training: 2 on CPU 0, 1 on CPU 1") &&
                              Contains("3 indexers of ") && Contains(" on 2 devices"));
  const auto created_of = [&](const char* file) {
    return parse_json(read_file(folder / file), file)["created"];
  };
  const Json distilled = created_of("d/distill.json");
  REQUIRE(distilled["devices"].size() == 2);
  for (const Json& device : distilled["devices"]) {
    CHECK(device["busy_seconds"].get<double>() > 0);
    CHECK(device["tasks"].get<int>() > 0);  // of judging
  }
  CHECK(distilled["devices"][0]["students"] == 2);
  CHECK(distilled["devices"][1]["students"] == 1);
  CHECK(distilled["idle_share"].get<double>() < 1);
  CHECK_THAT(read_file(folder / "d/report.html"), Contains("; 2 devices, idle "));
  REQUIRE(run_tool(search(folder, "r", "cpu,cpu")).code == 0);
  const Json run = created_of("r/run.json");
  int students = 0;
  for (const Json& device : run["devices"]) students += device["students"].get<int>();
  CHECK(students == 15);  // of all segments of six layers
  // Only what came after the search.
  const Json last = created_of("r/distilled-3F/distill.json");
  for (std::size_t d = 0; d < 2; ++d) {
    CHECK(last["devices"][d]["busy_seconds"].get<double>() <
          run["devices"][d]["busy_seconds"].get<double>() * 10);
    CHECK(last["devices"][d].value("students", 0) <= 2);
  }
  REQUIRE(run_tool(distill(folder, "one", "cpu")).code == 0);
  CHECK_FALSE(created_of("one/distill.json").contains("devices"));
}

TEST_CASE("a plan of a training says what each of several devices holds") {
  const TempFolder folder;
  tiny_tokens(folder, 10, 70);
  const auto planned = [&](const char* device) {
    Arguments plan = distill(folder, "none", device);
    plan.insert(plan.end(), {"--plan", "--json"});
    const ProcessResult result = run_tool(plan);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return parse_json(result.out, "plan");
  };
  const Json one = planned("cpu"), three = planned("cpu,cpu,cpu");
  CHECK(one["devices"] == 1);
  CHECK(three["devices"] == 3);
  CHECK(one["students"] == three["students"]);
  CHECK(three["students_per_device"] == 1);
  CHECK(three["student_bytes"].get<double>() * 3 == one["student_bytes"].get<double>());
  CHECK(three["sequences_at_once"] == one["sequences_at_once"]);
}
