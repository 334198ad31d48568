// SPDX-License-Identifier: Apache-2.0
// What distill refuses before it works, with one error and without a folder.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tokens.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

using Arguments = std::vector<std::string>;

struct DistillInput {
  DistillInput() { tiny_tokens(folder, 6, 70); }

  std::filesystem::path output() const { return folder / "out"; }

  ProcessResult distill(const std::string& folder_of_model, const std::string& pattern,
                        const Arguments& more, const std::string& tokens = "") const {
    const std::string file = tokens.empty() ? (folder / "tokens.jsonl").string() : tokens;
    Arguments arguments = {"distill",  folder_of_model, "-p",        pattern, "-c", file,
                           "--device", "cpu",           "--threads", "1",     "-o", output()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tool(arguments);
  }

  void check(const ProcessResult& result, int code, const std::string& what) const {
    INFO(result.err);
    CHECK(result.code == code);
    CHECK_THAT(result.err, Contains(what));
    CHECK(result.out.empty());
    const auto first = result.err.find("error: ");
    REQUIRE(first != std::string::npos);
    CHECK(result.err.find("error: ", first + 1) == std::string::npos);
    CHECK_FALSE(std::filesystem::exists(output()));
  }

  void refuse_option(const std::string& option, const std::string& value) const {
    CAPTURE(option, value);
    check(distill(model, "FFSSFS", {option, value}), 2, option);
  }

  std::filesystem::path write(const std::string& name, int sequences, int length) const {
    const TempFolder other;
    write_text(folder / name, read_file(tiny_tokens(other, sequences, length)));
    return folder / name;
  }

  TempFolder folder;
  const std::string model = golden("deepseek_v32_tiny");
};

}  // namespace

TEST_CASE("distill refuses patterns that cannot be trained for") {
  const DistillInput in;
  in.check(in.distill(in.model, "FFSS", {}), 3, "the pattern has the wrong length");
  in.check(in.distill(in.model, "FFFFFF", {}), 2, "there is nothing to distill");
  in.check(in.distill(in.model, "uniform:1", {}), 2, "there is nothing to distill");
  in.check(in.distill(in.model, "SFFFFF", {}), 3, "the pattern starts with S");
  in.check(in.distill(in.model, "FFXSFS", {}), 3, "a character other than F and S");
  in.check(in.distill(in.model, in.folder / "none.yaml", {}), 3, "none.yaml");
  in.check(in.distill(golden("glm_moe_dsa_shared_tiny"), "FFFFFSFS", {}), 3,
           "F where the checkpoint has no indexer");
}

TEST_CASE("distill refuses settings that are out of range") {
  const DistillInput in;
  for (const char* rate : {"0", "1", "nan", "-1", "inf", "x", ""}) {
    in.refuse_option("--rate", rate);
    in.refuse_option("--sparse-rate", rate);
  }
  for (const char* number : {"0", "-1", "1.5", "x", "99999999999999999999"}) {
    in.refuse_option("--steps", number);
    in.refuse_option("--batch", number);
  }
  for (const char* share : {"0", "1", "nan", "-0.5", "x"}) in.refuse_option("--validation", share);
  for (const char* clip : {"nan", "-1", "inf", "x"}) in.refuse_option("--clip", clip);
  for (const char* time : {"0", "0s", "nans", "-1s", "1d"}) {
    in.refuse_option("--save-every", time);
    in.refuse_option("--budget", time);
  }
  in.refuse_option("--sparse-steps", "-1");
  in.refuse_option("--warmup", "-1");
  in.refuse_option("--query-interval", "0");
  in.refuse_option("--validate-every", "0");
  in.refuse_option("--patience", "-1");
  in.refuse_option("--schedule", "linear");
  in.refuse_option("--link", "soft");
  in.refuse_option("--holdout", "1.5");
}

TEST_CASE("distill refuses data that it cannot split or learn from, and models that are missing") {
  const DistillInput in;
  const auto of = [&](const std::string& tokens, const Arguments& more = {}) {
    return in.distill(in.model, "FFSSFS", more, tokens);
  };
  const std::string one = in.write("one.jsonl", 1, 70), two = in.write("two.jsonl", 2, 70);
  in.check(of(one), 3, "one sequence");
  in.check(of(one, {"--holdout", "0"}), 3, "training and validation data");
  CHECK_THAT(of(one, {"--holdout", "0"}).err, !Contains("--holdout"));
  in.check(of(two), 3, "--holdout 0");  // one judges, and one is too few to train and validate
  in.check(of(in.write("short.jsonl", 6, 16)), 3, "too short to tell patterns apart");
  in.check(of(in.folder / "none.jsonl"), 3, "none.jsonl");
  in.check(in.distill("/nonexistent", "FFSSFS", {}), 3, "the model folder does not exist");
  std::filesystem::create_directory(in.folder / "empty");
  in.check(in.distill(in.folder / "empty", "FFSSFS", {}), 3, "config.json");
  in.check(run_tool({"distill", in.model, "-c", in.folder / "tokens.jsonl", "-o", in.output()}), 2,
           "--pattern is required");
  in.check(run_tool({"distill", in.model, "-p", "FFSSFS", "-c", in.folder / "tokens.jsonl"}), 2,
           "--output is required");
  in.check(run_tool({"distill", in.model, "-c", in.folder / "tokens.jsonl"}), 2,
           "they can also come from --config or from INDEXCACHE_PATTERN and INDEXCACHE_OUTPUT");
}

TEST_CASE("distill --plan says what a training needs, without weights and without a folder") {
  const DistillInput input;
  const auto planned = [&](const std::string& model) {
    const ProcessResult result = input.distill(model, "FFSSFS", {"--plan", "--json"});
    INFO(result.err);
    REQUIRE(result.code == 0);
    CHECK_FALSE(std::filesystem::exists(input.output()));
    return parse_json(result.out, "plan");
  };
  const Json plan = planned(golden("deepseek_v32_tiny"));
  CHECK(plan["students"] == 2);
  // wq_b, wk, weights_proj, and two vectors of LayerNorm.
  CHECK(plan["parameters_per_student"] == 8 * 32 * 48 + 32 * 64 + 8 * 64 + 2 * 32);
  CHECK(plan["steps"] == 400);
  CHECK(plan["fits"] == true);
  const TempFolder bare;
  std::filesystem::copy_file(golden("deepseek_v32_tiny") / "config.json", bare / "config.json");
  CHECK(planned(bare.path())["tokens"] == plan["tokens"]);
  CHECK_THAT(input.distill(golden("deepseek_v32_tiny"), "FFSSFS", {"--plan"}).out,
             Contains("training: 2 indexers of"));
}

TEST_CASE("distill refuses to write over the model that it reads") {
  const DistillInput input;
  std::filesystem::create_directories(input.output());
  std::filesystem::copy(golden("deepseek_v32_tiny"), input.output() / "model");
  const ProcessResult result = input.distill(input.output() / "model", "FFSSFS", {"--restart"});
  CHECK(result.code == 2);
  CHECK_THAT(result.err, Contains("the model is in the output folder"));
  CHECK(std::filesystem::exists(input.output() / "model/model.safetensors"));
}
