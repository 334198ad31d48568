// SPDX-License-Identifier: Apache-2.0
// What `plan` prints, and what it refuses.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/fp8_model.h"
#include "support/process.h"
#include "support/tokens.h"

#include <utility>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<std::string> plan(const std::filesystem::path& model,
                              const std::filesystem::path& tokens,
                              const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"plan",     model,  "-c",         tokens,
                                        "--keep",   "2",    "--device",   "cpu",
                                        "--refine", "none", "--strategy", "greedy"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

TEST_CASE("plan tells what a run does, takes and costs, and writes nothing") {
  const TempFolder folder;
  const auto tokens = tiny_tokens(folder);
  for (const bool probe : {false, true}) {
    const ProcessResult result =
        run_tool(plan(golden("deepseek_v32_tiny"), tokens,
                      probe ? std::vector<std::string>{"--probe"} : std::vector<std::string>{}));
    INFO(result.err);
    REQUIRE(result.code == 0);
    CHECK_THAT(result.out, Contains("4 steps, 14 evaluations") && Contains("resident") &&
                               Contains("84 without shared prefixes") && Contains("memory") &&
                               Contains("scaling ends at about") && Contains("disk"));
    CHECK_THAT(result.out, Contains(probe ? "measured on the first layers" : "estimated for"));
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("plan --json is one document whose parts add up") {
  const TempFolder folder;
  const ProcessResult result = run_tool(
      plan(golden("deepseek_v32_tiny"), tiny_tokens(folder), {"--json", "--weights", "stream"}));
  REQUIRE(result.code == 0);
  const Json json = parse_json(result.out, "plan");
  CHECK(json["schema"] == "indexcache-plan/2");
  CHECK(json["warnings"].is_array());
  CHECK(json["race_confidence"].is_null());  // there are too few sequences
  CHECK(json["weights"] == "stream");
  CHECK(json["streamed_bytes"].get<std::int64_t>() > 0);
  std::int64_t device = 0;
  for (const auto& [kind, bytes] : json["device_bytes_by_kind"].items()) {
    device += bytes.get<std::int64_t>();
  }
  CHECK(json["device_bytes"] == device);
  CHECK(json["fits"] == true);
  const Json& times = json["scaling"]["times"];
  const double fixed = json["scaling"]["fixed_seconds"];
  CHECK(fixed > 0);
  REQUIRE(times.size() == 7);
  CHECK(times[0]["devices"] == 1);
  CHECK(times[0]["idle_share"].get<double>() < 1e-6);
  for (std::size_t i = 1; i < times.size(); ++i) {
    CHECK(times[i]["seconds"].get<double>() <= times[i - 1]["seconds"].get<double>());
    CHECK(times[i]["link_bytes"].get<std::int64_t>() > 0);
    CHECK(times[i]["seconds"].get<double>() > fixed);
  }
  CHECK(times[1]["seconds"].get<double>() < times[0]["seconds"].get<double>());
}

TEST_CASE("plan prices each strategy, and a round of the refinement") {
  const TempFolder folder;
  std::vector<std::string> arguments = {
      "plan", golden("deepseek_v32_tiny"), "-c", tiny_tokens(folder), "--keep", "3", "--device",
      "cpu"};
  const ProcessResult result = run_tool(arguments);
  INFO(result.out);
  REQUIRE(result.code == 0);
  CHECK_THAT(result.out, Contains("\nsegments  1 step, about ") &&
                             Contains("\ngreedy    3 steps, about ") && Contains("per round"));
  arguments.push_back("--json");
  const Json json = parse_json(run_tool(arguments).out, "plan");
  REQUIRE(json["strategies"].size() == 2);
  CHECK(json["evaluations_exact"] == false);
  CHECK(json["strategies"][0]["name"] == "segments");
  CHECK(json["strategies"][0]["evaluations"].get<int>() +
            json["strategies"][1]["evaluations"].get<int>() ==
        json["evaluations"].get<int>());
  CHECK(json["refinement_evaluations_per_round"].get<int>() > 0);
}

TEST_CASE("plan counts far fewer layer visits and passes for segments of deep models") {
  const TempFolder folder;
  const auto tokens = tiny_tokens(folder);
  Json config = parse_json(read_file(golden("deepseek_v32_tiny/config.json")), "config.json");
  for (const auto& [layers, most] : {std::pair{47, 0.4}, std::pair{61, 0.35}}) {
    config["num_hidden_layers"] = layers;
    std::filesystem::create_directories(folder / "model");
    write_text(folder / "model/config.json", config.dump());
    const auto counted = [&](const std::string& strategy) {
      const ProcessResult result =
          run_tool({"plan", folder / "model", "-c", tokens, "--keep", "1/4", "--device", "cpu",
                    "--strategy", strategy, "--refine", "none", "--json"});
      INFO(result.err);
      REQUIRE(result.code == 0);
      return parse_json(result.out, "plan");
    };
    const Json greedy = counted("greedy"), segments = counted("segments");
    INFO(layers << " layers");
    CHECK(segments["layer_visits"].get<double>() <= most * greedy["layer_visits"].get<double>());
    CHECK(segments["passes"].get<int>() * 5 < greedy["passes"].get<int>());
  }
}

TEST_CASE("plan names the setting to change where a run does not fit") {
  const TempFolder folder;
  const auto tokens = tiny_tokens(folder);
  const ProcessResult weights =
      run_tool(plan(golden("deepseek_v32_tiny"), tokens, {"--memory-limit", "300KiB"}));
  CHECK(weights.code == 4);
  CHECK_THAT(weights.err, Contains("weights do not fit") && Contains("more than"));
  const ProcessResult sweep =
      run_tool(plan(golden("deepseek_v32_tiny"), tokens, {"--memory-limit", "1100KiB"}));
  CHECK(sweep.code == 4);
  CHECK_THAT(sweep.err, Contains("run does not fit") && Contains("--memory-limit"));
}

TEST_CASE("plan works from config.json alone, unless it is asked to measure") {
  const TempFolder folder;
  const auto tokens = tiny_tokens(folder);
  std::filesystem::create_directory(folder / "model");
  std::filesystem::copy_file(golden("deepseek_v32_tiny/config.json"), folder / "model/config.json");
  const ProcessResult result = run_tool(plan(folder / "model", tokens));
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK_THAT(result.out, Contains("4 steps, 14 evaluations"));
  CHECK_THAT(result.err, Contains("there are no weights"));
  const ProcessResult probe = run_tool(plan(folder / "model", tokens, {"--probe"}));
  CHECK(probe.code == 3);
  CHECK_THAT(probe.err, Contains("no weights to measure"));
}

TEST_CASE("plan --on plans for machines that are not here, from config.json") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "model");
  std::filesystem::copy_file(golden("deepseek_v32_tiny/config.json"), folder / "model/config.json");
  const auto on = [&](const std::string& machine, std::vector<std::string> more = {}) {
    std::vector<std::string> command = {
        "plan", folder / "model", "-c", tiny_tokens(folder), "--keep", "3", "--on", machine};
    command.insert(command.end(), more.begin(), more.end());
    return run_tool(command);
  };
  const ProcessResult node = on("8xH200", {"--precision", "bf16", "--json"});
  INFO(node.err);
  REQUIRE(node.code == 0);
  const Json known = parse_json(node.out, "plan");
  CHECK(known["device_limit_bytes"].get<double>() > 128e9);
  CHECK(known["scaling"]["times"].size() == 7);
  const Json memory = parse_json(on("4x80GiB", {"--json"}).out, "plan");
  CHECK(memory["device_limit_bytes"].get<double>() < 80e9);
  CHECK(memory["scaling"].is_null());  // nothing is known of its speed
  for (const char* wrong : {"8xH2000", "0xH200", "8x", "GPU", "-1xH200"}) {
    INFO(wrong);
    const ProcessResult refused = on(wrong);
    CHECK(refused.code == 2);
    CHECK_THAT(refused.err, Contains("unknown machine") && Contains("--on 8xH200"));
  }
  CHECK(on("8xH200", {"--probe"}).code != 0);
}

TEST_CASE("plan --on knows that FP8 takes less memory and time") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "model");
  write_text(folder / "model/config.json", fp8_config({}).dump());
  const auto planned = [&](const std::string& precision) {
    const ProcessResult result =
        run_tool({"plan", folder / "model", "-c", tiny_tokens(folder), "--keep", "3", "--on",
                  "8xH200", "--precision", precision, "--json"});
    INFO(result.err);
    REQUIRE(result.code == 0);
    return parse_json(result.out, "plan");
  };
  const Json fp8 = planned("fp8"), bf16 = planned("bf16"), fp32 = planned("fp32");
  const auto weights = [](const Json& plan) {
    return plan["device_bytes_by_kind"]["weights"].get<double>();
  };
  // All of them have the same slots for transfers.
  CHECK(weights(bf16) - weights(fp8) > 0.25 * (weights(fp32) - weights(bf16)));
  CHECK(weights(fp32) > weights(bf16));
  // Of the search by itself: the total contains how long this process took to start.
  const auto search_seconds = [](const Json& plan) {
    return plan["strategies"][0]["seconds"].get<double>();
  };
  CHECK(search_seconds(fp8) < search_seconds(bf16));
}
