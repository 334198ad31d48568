// SPDX-License-Identifier: Apache-2.0
// --precision fp8 as users meet it, on the CPU.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/fp8_model.h"
#include "support/process.h"
#include "support/refused_command.h"
#include "support/run_files.h"
#include "support/tokens.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<std::string> eval(const std::filesystem::path& model, const std::string& tokens,
                              const std::vector<std::string>& options) {
  std::vector<std::string> arguments = {"eval", model,    "FSFS",     "-c",
                                        tokens, "--json", "--device", "cpu"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  return arguments;
}

}  // namespace

TEST_CASE("FP8 products are refused for a model without FP8 weights, with what would do") {
  const Fp8Model bf16({.fp8 = false});
  const std::string tokens = tiny_tokens(bf16.folder);
  const std::string model = bf16.folder.path();
  const ProcessResult result = run_tool(eval(model, tokens, {"--precision", "fp8"}));
  CHECK(result.code == 2);
  CHECK_THAT(result.err, Contains("the model has no FP8 weights") && Contains("--precision fp8") &&
                             Contains("F8_E4M3") && Contains("try: --precision fp32"));
  std::vector<std::string> arguments = {"plan", model,         "-c",  tokens,     "--keep",
                                        "1/2",  "--precision", "fp8", "--device", "cpu"};
  check_refused(arguments, 2, "the model has no FP8 weights");
  arguments.front() = "run";
  arguments.insert(arguments.end(), {"-o", bf16.folder / "run"});
  check_refused(arguments, 2, "the model has no FP8 weights");
  check_refused({"profile", model, "--context", "64", "--precision", "fp8", "--device", "cpu"}, 2,
                "the model has no FP8 weights");
  check_refused(eval(model, tokens, {"--indexer-precision", "fp8", "--indexer", "hisa"}), 2,
                "an fp32 indexer only");
}

TEST_CASE("losses in FP8 are the same wherever weights wait") {
  const Fp8Model fp8;
  const std::string tokens = tiny_tokens(fp8.folder);
  const auto output = [&](const std::vector<std::string>& options) {
    const ProcessResult result = run_tool(eval(fp8.folder.path(), tokens, options));
    INFO(result.err);
    CHECK(result.code == 0);
    CHECK_THAT(result.err, !Contains("dequantized"));
    return result.out;
  };
  const std::string expected = output({"--precision", "fp8", "--weights", "resident"});
  CHECK(output({"--precision", "fp8", "--weights", "stream"}) == expected);
  CHECK(output({"--precision", "fp8", "--weights", "disk"}) == expected);
  CHECK(output({"--precision", "fp32"}) != expected);
}

TEST_CASE("FP8 matrices that are dequantized all the same are counted in one note") {
  const Fp8Model narrow({.moe_intermediate = 144});
  const ProcessResult result =
      run_tool(eval(narrow.folder.path(), tiny_tokens(narrow.folder), {"--precision", "fp8"}));
  CHECK(result.code == 0);
  CHECK_THAT(result.err, Contains("54 of 108 FP8 matrices are dequantized to F32"));
  CHECK(result.err.find("dequantized") == result.err.rfind("dequantized"));
}

TEST_CASE("a run in FP8 does not continue in another precision") {
  const Fp8Model fp8;
  const std::string tokens = tiny_tokens(fp8.folder);
  const auto run = [&](const std::string& precision) {
    return run_tool({"run", fp8.folder.path(), "-c", tokens, "--device", "cpu", "--keep", "2",
                     "--holdout", "0", "--precision", precision, "-o", fp8.folder / "run"});
  };
  REQUIRE(run("fp8").code == 0);
  const Json json = parse_json(read_file(fp8.folder / "run" / "run.json"), "run.json");
  CHECK_THAT(json["device"].get<std::string>(), Contains(" fp8"));
  CHECK(json["fingerprint"]["device"] == json["device"]);
  CHECK(run("fp8").code == 0);
  const ProcessResult other = run("fp32");
  INFO(other.err);
  CHECK(other.code == 5);
  CHECK_THAT(other.err, Contains("device was") && Contains(" fp8\""));
  const auto drift = [&](const std::string& precision) {
    const ProcessResult result =
        run_tool({"overlap", fp8.folder.path(), "-c", tokens, "--device", "cpu", "--against",
                  fp8.folder / "run", "--precision", precision, "-o", fp8.folder / precision});
    INFO(result.err);
    CHECK(result.code == 0);
    return result.err;
  };
  CHECK_THAT(drift("fp32"), Contains("differences could come from the device or the precision"));
  CHECK_THAT(drift("fp8"), !Contains("could come from"));
}

TEST_CASE("a plan in FP8 has the weights that the run has") {
  const Fp8Model fp8;
  const std::string tokens = tiny_tokens(fp8.folder);
  const auto weights = [&](const std::string& precision) {
    const ProcessResult result =
        run_tool({"plan", fp8.folder.path(), "-c", tokens, "--device", "cpu", "--keep", "2",
                  "--precision", precision, "--weights", "resident", "--json"});
    REQUIRE(result.code == 0);
    return parse_json(result.out, "plan")["device_bytes_by_kind"]["weights"].get<double>();
  };
  CHECK(weights("fp8") < 0.5 * weights("fp32"));
}
