// SPDX-License-Identifier: Apache-2.0
// --indexer: HISA next to the exact indexer, and as the indexer of a run; dense attention.
#include "io/files.h"
#include "io/json.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/model_copy.h"
#include "support/process.h"
#include "support/run_files.h"
#include "support/tokens.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

// The model selects 16 tokens; sequences are longer than the 20 that five blocks hold.
constexpr const char* kNarrow = "hisa:block=4,blocks=5";
constexpr const char* kWide = "hisa:block=4,blocks=64";

struct Place {
  Place() { tiny_tokens(folder); }

  ProcessResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"-c", folder / "tokens.jsonl"});
    return run_tool(arguments, kFixedTime);
  }
  Json json(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const ProcessResult result = run(arguments);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return parse_json(result.out, "stdout");
  }

  TempFolder folder;
  std::string model = golden("deepseek_v32_tiny");
};

}  // namespace

TEST_CASE("eval shows the exact indexer, HISA, the pattern, and both together") {
  const Place place;
  const Json plain = place.json({"eval", place.model, "uniform:2"});
  const Json narrow = place.json({"eval", place.model, "uniform:2", "--indexer", kNarrow});
  CHECK_FALSE(plain.contains("by_other_indexer"));
  CHECK(narrow["baseline"]["loss"] == plain["baseline"]["loss"]);
  CHECK(narrow["patterns"][0]["sequence_losses"] == plain["patterns"][0]["sequence_losses"]);
  CHECK(narrow["patterns"][0]["indexer"] == "exact");
  const Json& rows = narrow["by_other_indexer"];
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["indexer"] == kNarrow);
  CHECK(rows[0]["pattern"] == "FFFFFF");
  CHECK(rows[1]["pattern"] == plain["patterns"][0]["pattern"]);
  CHECK(rows[0]["loss"] != plain["baseline"]["loss"]);
  const double rise = rows[1]["loss"].get<double>() - plain["baseline"]["loss"].get<double>();
  CHECK(rows[1]["delta"].get<double>() == Approx(rise).margin(1e-9));
  CHECK_FALSE(rows[0].contains("seconds"));  // times differ, and SOURCE_DATE_EPOCH is set

  const Json wide = place.json({"eval", place.model, "uniform:2", "--indexer", kWide});
  CHECK(wide["by_other_indexer"][1]["sequence_losses"] == plain["patterns"][0]["sequence_losses"]);
  CHECK_THAT(wide["warnings"].dump(), Contains("selects what the exact indexer does"));

  const ProcessResult text = run_tool({"eval", place.model, "uniform:2", "--indexer", kNarrow, "-c",
                                       place.folder / "tokens.jsonl"});
  CHECK_THAT(text.out, Contains("exact  ") && Contains(std::string(kNarrow) + "  ") &&
                           Contains(" s  uniform:2"));
}

TEST_CASE("eval shows what selecting tokens costs next to patterns: dense attention") {
  const Place place;
  const Json plain = place.json({"eval", place.model, "uniform:2"});
  const Json both = place.json({"eval", place.model, "dense", "uniform:2"});
  CHECK(both["baseline"]["sequence_losses"] == plain["baseline"]["sequence_losses"]);
  CHECK(both["patterns"][1]["sequence_losses"] == plain["patterns"][0]["sequence_losses"]);
  const Json& dense = both["patterns"][0];
  CHECK(dense["pattern"] == "dense");
  CHECK(dense["indexer"] == "none");
  CHECK(both["baseline"]["indexer"] == "exact");
  const double rise = dense["loss"].get<double>() - plain["baseline"]["loss"].get<double>();
  CHECK(std::abs(rise) > 1e-5);  // 70 tokens, of which an indexer selects 16
  CHECK(dense["delta"].get<double>() == Approx(rise).margin(1e-9));
  CHECK(dense["delta_ci95"].is_array());

  const Json none = place.json({"eval", place.model, "uniform:2", "--indexer", "none"});
  CHECK(none["patterns"][0] == both["patterns"][1]);
  CHECK(none["patterns"][1] == dense);
  CHECK_FALSE(none.contains("by_other_indexer"));
  const Json narrow = place.json({"eval", place.model, "uniform:2", "dense", "--indexer", kNarrow});
  CHECK(narrow["patterns"][1] == dense);
  CHECK(narrow["by_other_indexer"].size() == 2);  // no indexer changes dense attention

  const ProcessResult text = run_tool({"eval", place.model, "uniform:2", "dense", "--indexer",
                                       kNarrow, "-c", place.folder / "tokens.jsonl"});
  CHECK_THAT(text.out,
             Contains("\ndense  loss ") && Contains("  none  ") && Contains(" s  uniform:2\n"));

  // The last of 70 tokens is the only one that drops another, and it predicts nothing.
  const ModelCopy wide;
  wide.change_config([](Json& config) { config["index_topk"] = 69; });
  const Json all = place.json({"eval", wide.path(), "dense"});
  CHECK(all["patterns"][0]["loss"].get<double>() ==
        Approx(all["baseline"]["loss"].get<double>()).epsilon(1e-6));
}

TEST_CASE("overlap compares HISA with the exact indexer by layer and position") {
  const Place place;
  const Json plain = place.json({"overlap", place.model, "-o", place.folder / "plain"});
  const Json narrow =
      place.json({"overlap", place.model, "--indexer", kNarrow, "-o", place.folder / "narrow"});
  CHECK(narrow["overlap"] == plain["overlap"]);  // the exact sets are in force
  CHECK(narrow["baseline_loss"] == plain["baseline_loss"]);
  const Json& indexer = narrow["indexer"];
  CHECK(indexer["method"] == kNarrow);
  CHECK(indexer["mean"].get<double>() < 1);
  CHECK(indexer["worst"].get<double>() < indexer["mean"].get<double>());
  REQUIRE(indexer["layers"].size() == 6);
  CHECK(indexer["layers"][5]["layer"] == 5);
  CHECK(indexer["by_position"].size() == plain["by_position"].size());
  CHECK(indexer["layers"][0]["by_position"].size() == plain["by_position"].size());
  const Json wide =
      place.json({"overlap", place.model, "--indexer", kWide, "-o", place.folder / "wide"});
  CHECK(wide["indexer"]["worst"] == 1.0);
  const ProcessResult text =
      place.run({"overlap", place.model, "--indexer", kNarrow, "-o", place.folder / "text"});
  CHECK_THAT(text.out, Contains("share of the exact indexer's 16 tokens"));
}

TEST_CASE("a run under HISA says so everywhere, and is another run than an exact one") {
  const Place place;
  const std::string folder = place.folder / "run";
  const std::vector<std::string> exact = {"run",       place.model, "--keep", "1/2",
                                          "--holdout", "0",         "-o",     folder};
  std::vector<std::string> narrow = exact;
  narrow.insert(narrow.end(), {"--indexer", kNarrow});
  const ProcessResult result = place.run(narrow);
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK_THAT(result.out, Contains(std::string("measured with the indexer ") + kNarrow));
  const Json run = parse_json(read_file(folder + "/run.json"), "run.json");
  CHECK(run["model"]["indexer"] == kNarrow);
  CHECK_THAT(run["fingerprint"].dump(), Contains(kNarrow));
  CHECK_THAT(read_file(folder + "/journal.jsonl"), Contains(kNarrow));
  CHECK_THAT(read_file(folder + "/pattern.yaml"), Contains(kNarrow));
  CHECK_THAT(read_file(folder + "/report.html"), Contains(kNarrow));
  const Json losses = place.json({"eval", place.model, "--indexer", kNarrow, "full"});
  CHECK(run["baseline"]["loss"].get<double>() ==
        losses["by_other_indexer"][0]["loss"].get<double>());

  const ProcessResult other = place.run(exact);
  CHECK(other.code == 5);
  CHECK_THAT(other.err, Contains("indexer was \"hisa:block=4,blocks=5\" and is now \"\""));
  CHECK(place.run(narrow).code == 0);  // finished

  const ProcessResult exported = run_tool({"export", folder, "--engine", "sglang"});
  CHECK(exported.code == 0);
  CHECK_THAT(exported.err, Contains(kNarrow));
  // What the run measured is measured again, by its own indexer.
  const Json drift =
      place.json({"overlap", place.model, "--against", folder, "-o", place.folder / "drift"});
  CHECK(drift["drift"]["drop"]["largest"] == 0.0);
  const ProcessResult both = place.run({"overlap", place.model, "--against", folder, "--indexer",
                                        kNarrow, "-o", place.folder / "both"});
  CHECK(both.code == 2);
  CHECK_THAT(both.err, Contains("compared with the exact one"));
}

TEST_CASE("an option --indexer that cannot be used is refused with exit code 2") {
  const Place place;
  const auto refused = [&](std::vector<std::string> arguments, const std::string& why) {
    const ProcessResult result = place.run(std::move(arguments));
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK_THAT(result.err, Contains(why));
  };
  const std::string out = place.folder / "out";
  for (const char* command : {"run", "plan", "overlap", "eval"}) {
    std::vector<std::string> arguments = {command, place.model, "--indexer", "hisa:size=3"};
    const std::string name = command;
    if (name == "run" || name == "overlap") arguments.insert(arguments.end(), {"-o", out});
    if (name == "eval") arguments.emplace_back("full");
    refused(arguments, "\"size=3\" is neither block=N nor blocks=N");
    arguments[3] = "hisa:block=4,blocks=4";
    refused(arguments, "leaves too few tokens to select from");
  }
  for (const char* command : {"run", "plan", "overlap"}) {
    std::vector<std::string> arguments = {command, place.model, "--indexer", "none"};
    if (std::string(command) != "plan") arguments.insert(arguments.end(), {"-o", out});
    refused(arguments, "nothing is selected without an indexer");
    refused(arguments, "eval MODEL dense");
  }
  CHECK_FALSE(std::filesystem::exists(out));
  refused({"run", place.model, "--keep", "1/2", "--indexer", kNarrow, "--distill",
           place.folder / "tokens.jsonl", "-o", out},
          "--distill trains exact indexers");
}
