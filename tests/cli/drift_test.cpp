// SPDX-License-Identifier: Apache-2.0
// `overlap --against`: a stored run compared with new data.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tokens.h"
#include "version.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

Json drift_of(const std::filesystem::path& folder) {
  return parse_json(read_file(folder / "drift.json"), "drift.json");
}

}  // namespace

TEST_CASE("overlap --against compares a stored run with new data, by layer and position") {
  const TempFolder folder;
  const std::string model = data("dsa-mini");
  const std::string tokens = short_tokens(folder, 300);
  const std::string run = folder / "run";
  REQUIRE(run_tool({"run", model, "-c", tokens, "--keep", "14", "--holdout", "0", "-o", run, "-q"})
              .code == 0);

  const ProcessResult same = run_tool(
      {"overlap", model, "-c", tokens, "--against", run, "--along-queries", "-o", folder / "same"});
  INFO(same.err);
  REQUIRE(same.code == 0);
  CHECK_THAT(same.out, Contains("change -0.0000 on average") || Contains("change +0.0000 on aver"));
  CHECK_THAT(same.out, Contains("union 8"));
  const Json unchanged = drift_of(folder / "same");
  REQUIRE(unchanged["layers"].size() == 2);
  CHECK(unchanged["drop"]["largest"] == 0.0);
  const Json stored = parse_json(read_file(run + "/run.json"), "run.json");
  CHECK(unchanged["layers"][0]["stored"] == stored["targets"][0]["donor_overlap"][0]["overlap"]);

  // Longer sequences: a position bucket that the stored run does not have.
  const TempFolder other;
  const std::string longer = short_tokens(other, 600);
  REQUIRE(run_tool({"overlap", model, "-c", longer, "--against", run, "-o", folder / "long", "-q"})
              .code == 0);
  const Json drift = drift_of(folder / "long");
  REQUIRE(drift["by_position"].size() == 3);
  CHECK(drift["by_position"][2]["stored"].is_null());
  CHECK(drift["by_position"][2]["drop"].is_null());
  CHECK(drift["by_position"][0]["drop"] == 0.0);  // the same first positions
  CHECK(drift["layers"][0]["drop"] != 0.0);
  CHECK(drift["stored_tokens_sha256"] != drift["tokens"]["sha256"]);

  write_text(folder / "gate.yaml", "schema: indexcache-gate/1\nguards:\n  max_overlap_drop: 0.5\n");
  CHECK(run_tool({"check", run, "-g", folder / "gate.yaml", "--drift", folder / "long/drift.json"},
                 {"GITHUB_ACTIONS="})
            .code == 0);
}

TEST_CASE("overlap --against refuses what is no run of this model") {
  const TempFolder folder;
  const std::string model = data("dsa-mini");
  const std::string tokens = short_tokens(folder, 300);
  const auto refuses = [&](const std::string& against, const std::string& tells) {
    const ProcessResult result =
        run_tool({"overlap", model, "-c", tokens, "--against", against, "-o", folder / "out"});
    INFO(result.err);
    CHECK(result.code == 3);
    CHECK_THAT(result.err, Contains(tells));
    CHECK_FALSE(std::filesystem::exists(folder / "out"));
  };
  refuses(folder / "none", "contains no finished run");
  const std::string run = folder / "run";
  REQUIRE(run_tool({"run", model, "-c", tokens, "--keep", "15", "--holdout", "0", "-o", run, "-q"})
              .code == 0);
  const std::string json = read_file(run + "/run.json");
  std::string other = json;
  const std::string version = "\"numerics_version\": " + std::to_string(kNumericsVersion);
  REQUIRE(other.find(version) != other.npos);
  write_text(run + "/run.json",
             other.replace(other.find(version), version.size(), "\"numerics_version\": 1"));
  refuses(run, "numerics version 1");
  write_text(run + "/run.json", json);
  write_text(run + "/overlap.h5", "not HDF5");
  refuses(run, "HDF5");
  std::filesystem::remove(run + "/overlap.h5");
  refuses(run, "overlap.h5");
  std::filesystem::remove(run + "/run.json");
  refuses(run, "contains no finished run");
}
