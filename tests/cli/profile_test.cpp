// SPDX-License-Identifier: Apache-2.0
// profile: what it measures, writes and refuses; nothing asserts a time.
#include "io/files.h"
#include "profile/profile_json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/process.h"
#include "support/tiny_shape.h"
#include "support/tokens.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct Tiny {
  TempFolder folder;

  Tiny() { write_text(folder / "tiny.yaml", tiny_shape()); }

  // `profile` of the tiny shape on the CPU.
  ProcessResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"profile", "--synthetic", folder / "tiny.yaml"});
    arguments.insert(arguments.end(), {"--device", "cpu", "--repeat", "1"});
    return run_tool(arguments);
  }

  Profile measure(std::vector<std::string> arguments, const std::string& name) const {
    const std::filesystem::path produced = INDEXCACHE_PRODUCED;  // held to its schema afterwards
    std::filesystem::create_directories(produced);
    const std::filesystem::path file = produced / (name + ".profile.json");
    arguments.insert(arguments.end(), {"-o", file});
    const ProcessResult result = run(arguments);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return read_profile(file);
  }
};

}  // namespace

TEST_CASE("profile measures the parts of a prefill under every pattern") {
  const Tiny tiny;
  const Profile profile = tiny.measure(
      {"FSFS", "--context", "64,40", "--decode", "100,40", "--batch", "3,1"}, "patterns");
  CHECK(profile.model.name == "tiny (synthetic)");
  CHECK(profile.model.config_sha256.empty());
  CHECK(profile.model.index_topk == 16);
  CHECK_FALSE(profile.gpu);
  REQUIRE(profile.decode.size() == 4);
  CHECK(profile.decode[1].context == 40);
  CHECK(profile.decode[1].batch == 3);
  CHECK(profile.decode[2].context == 100);
  for (const char* part : {"projections", "top-k", "index key writes", "lm_head"}) {
    INFO(part);
    CHECK(profile.decode[3].times[1].seconds_of(part) > 0);
  }
  REQUIRE(profile.patterns.size() == 2);  // uniform interleaving of that size is the pattern
  CHECK(profile.patterns[0].pattern.text() == "FFFF");
  CHECK(profile.patterns[1].name == "FSFS");
  REQUIRE(profile.prefill.size() == 2);
  CHECK(profile.prefill[0].context == 40);
  CHECK(profile.prefill[1].context == 64);
  for (const ProfilePoint& point : profile.prefill) {
    for (const PatternTime& time : point.times) {
      CHECK(time.seconds > 0);
      for (const char* part : {"projections", "indexer logits", "top-k", "KV writes", "gaps"}) {
        INFO(part);
        CHECK(time.seconds_of(part) > 0);
      }
      CHECK(time.indexer_share() > 0);
      CHECK(time.indexer_share() < 1);
    }
  }
}

TEST_CASE("profile measures dense attention in place of patterns") {
  const Tiny tiny;
  const Profile profile = tiny.measure({"--indexer", "none", "--context", "40,64"}, "dense");
  CHECK(profile.model.indexer == "none");
  REQUIRE(profile.patterns.size() == 1);
  CHECK(profile.patterns[0].name == "dense");
  for (const ProfilePoint& point : profile.prefill) {
    REQUIRE(point.times.size() == 1);
    CHECK(point.times[0].seconds_of("sparse attention") > 0);
    CHECK(point.times[0].seconds_of("indexer logits") == 0);
    CHECK(point.times[0].seconds_of("index key writes") == 0);
  }
  const ProcessResult refused = tiny.run({"FSFS", "--indexer", "none", "--context", "40"});
  CHECK(refused.code == 2);
  CHECK_THAT(refused.err, Contains("dense attention has no patterns"));
}

TEST_CASE("profile covers the lengths of requests, and composes their times") {
  const Tiny tiny;
  write_text(tiny.folder / "one.csv", "length,count\n64,1000\n");
  const Profile one = tiny.measure({"--lengths", tiny.folder / "one.csv"}, "one-length");
  REQUIRE(one.prefill.size() == 1);
  REQUIRE(one.traffic);
  CHECK(one.traffic->requests == 1000);
  for (std::size_t p = 0; p < one.patterns.size(); ++p) {
    const double seconds = one.prefill[0].times[p].seconds;
    CHECK(one.traffic->times[p] == FirstTokenTimes{seconds, seconds, seconds, seconds});
  }
  write_text(tiny.folder / "some.jsonl",
             "{\"prompt_tokens\": 5}\n{\"prompt_tokens\": 600, \"output_tokens\": 3}\n");
  const Profile some = tiny.measure({"--lengths", tiny.folder / "some.jsonl"}, "some-lengths");
  std::vector<std::int64_t> contexts;
  for (const ProfilePoint& point : some.prefill) contexts.push_back(point.context);
  CHECK(contexts == std::vector<std::int64_t>{5, 16, 512, 600});
  CHECK(some.traffic->output_tokens == 3);
  const ProcessResult text =
      tiny.run({"--lengths", tiny.folder / "some.jsonl", "--context", "5,600"});
  CHECK(text.code == 0);
  CHECK_THAT(text.out, Contains("2 requests of some.jsonl, 605 prompt tokens") &&
                           Contains("no queue, no batch, no engine") &&
                           Contains("a CPU says little about the shares on a GPU"));
}

TEST_CASE("profile refuses what it cannot measure") {
  const Tiny tiny;
  struct Case {
    std::vector<std::string> arguments;
    int code;
    const char* text;
  };
  write_text(tiny.folder / "bad.csv", "length,count\n64,many\n");
  write_text(tiny.folder / "long.csv", "length,count\n64,1\n2000,3\n");
  const std::string bad = tiny.folder / "bad.csv", longer = tiny.folder / "long.csv";
  for (const Case& c : std::initializer_list<Case>{
           {{"--context", "1025"}, 2, "max_position_embeddings is 1024"},
           {{"--context", "0"}, 2, "--context"},
           {{"--context", "64", "--decode", "16"}, 2, "cannot time a context of 16 tokens"},
           {{"--lengths", bad}, 3, "bad.csv:2"},
           {{"--lengths", longer}, 3, "long.csv:3"},
           {{"--lengths", longer, "--context", "64,512"}, 3, "measured were 64 to 512"},
           {{"--lengths", tiny.folder / "none"}, 3, "none"},
           {{"FSFSF"}, 3, "FSFSF"},
       }) {
    const ProcessResult result = tiny.run(c.arguments);
    INFO(c.text << ": " << result.err);
    CHECK(result.code == c.code);
    CHECK_THAT(result.err, Contains(c.text));
    CHECK(result.out.empty());
  }
  const ProcessResult nothing = run_tool({"profile", "--device", "cpu"});
  CHECK(nothing.code == 2);
  CHECK_THAT(nothing.err, Contains("either MODEL or --synthetic") && Contains("profile --help"));
}

TEST_CASE("profile without a GPU says so") {
  const Tiny tiny;
  const ProcessResult result =
      run_tool({"profile", "--synthetic", tiny.folder / "tiny.yaml", "--device", "cuda"},
               {"CUDA_VISIBLE_DEVICES="});
  CHECK(result.code == 4);
  CHECK_THAT(result.err, Contains("--device cuda"));
}

TEST_CASE("the profile of a run is part of its report, and a gate may demand a speed-up") {
  const TempFolder folder;
  const std::string model = golden("deepseek_v32_tiny"), run = folder / "run";
  tiny_tokens(folder);
  REQUIRE(run_tool({"run", model, "-c", folder / "tokens.jsonl", "--keep", "1/2", "-o", run, "-q"})
              .code == 0);
  const auto profile = [&](const std::string& of, const std::string& file) {
    const ProcessResult result = run_tool(
        {"profile", of, run, "--context", "40,64", "--device", "cpu", "--repeat", "1", "-o", file});
    INFO(result.err);
    CHECK(result.code == 0);
    CHECK_THAT(result.out, Contains("limit of the speed-up"));
  };
  const auto check = [&](const std::string& limits, const std::vector<std::string>& more = {}) {
    write_text(folder / "gate.yaml",
               "schema: indexcache-gate/1\nguards:\n  min_prefill_speedup_at: " + limits + "\n");
    std::vector<std::string> arguments = {"check", run, "-g", folder / "gate.yaml"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tool(arguments);
  };
  const ProcessResult missing = check("{64: 1}");
  CHECK(missing.code == 1);
  CHECK_THAT(missing.out, Contains("--profile was not given"));
  profile(model, folder / "run/profile.json");
  // What was measured is compared, whatever it is.
  const Profile measured = read_profile(folder / "run/profile.json");
  CHECK(measured.model.config_sha256.size() == 64);
  const bool faster = measured.prefill_at(64)->speed_up(1) >= 1;
  CHECK(check("{64: 1}").code == (faster ? 0 : 1));
  CHECK(check("{64: 1000}").code == 1);
  const ProcessResult other = check("{63: 1}", {"--json"});
  CHECK(other.code == 1);
  CHECK_THAT(other.out, Contains("no prefill of 63 tokens"));
  CHECK(check("{64: 1000}", {"--profile", folder / "run/profile.json"}).code == 1);
  CHECK(check("{64: 1}", {"--profile", folder / "none.json"}).code == 3);
  CHECK(run_tool({"report", run, "-f", "html,md,svg,json"}).code == 0);
  CHECK_THAT(read_file(folder / "run/report.html"),
             Contains("Where does the time of a prefill go?") &&
                 Contains("How much faster is a prefill?"));
  CHECK_THAT(read_file(folder / "run/report.md"), Contains("limit of any"));
  CHECK(std::filesystem::exists(folder / "run/prefill-speed-up.svg"));
  profile(golden("glm_moe_dsa_tiny"), folder / "run/profile.json");
  const ProcessResult refused = run_tool({"report", run});
  CHECK(refused.code == 3);
  CHECK_THAT(refused.err, Contains("the profile is of a different model"));
}
