// SPDX-License-Identifier: Apache-2.0
// Every single value of a result removed or of another type: it is read and then everything can
// show it, or it is refused with an InputError. What is written is read back equal.
#include "core/error.h"
#include "io/yaml.h"
#include "result/convert_v1.h"
#include "result/drift.h"
#include "result/pattern_file.h"
#include "result/result_json.h"
#include "support/catch.h"
#include "support/damage.h"
#include "support/example_result.h"

#include <functional>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// The error of `read`, empty if there is none. Anything but an InputError fails the test.
std::string refusal(const std::function<void()>& read) {
  try {
    read();
    return "";
  } catch (const InputError& error) {
    return error.describe();
  }
}

std::string refusal_of_run(const Json& document) {
  return refusal([&] { result_from_json(document, "run.json"); });
}

template <typename Change>
std::string refusal_after(Change change) {
  Json document = to_json(example_result());
  change(document);
  return refusal_of_run(document);
}

Drift example_drift() {
  Overlap now = example_overlap();
  for (std::int64_t& count : now.counts) count = count * 9 / 10;
  now.bucket_ends.push_back(128);
  now.queries.push_back(5);
  now.counts.insert(now.counts.end(), 36, 5 * 16 / 2);
  Drift drift = compare_overlap(Pattern::parse("FSFFSS"), example_overlap(), now);
  drift.tool_version = "0.1.0";
  drift.numerics_version = 2;
  drift.run = "runs/a";
  drift.stored_tokens_sha256 = std::string(64, 'a');
  drift.tokens = example_result().calibration;
  return drift;
}

}  // namespace

TEST_CASE("a result is read back as it was written") {
  const Result result = example_result();
  CHECK(result_from_json(to_json(result), "run.json") == result);
  CHECK(result_from_json(parse_json(to_json(result).dump(1), "x"), "x") == result);
  Result small = example_result();
  small.holdout.reset();
  small.calibration.prepared.reset();
  small.provenance.search_seconds.reset();
  small.provenance.planned_bytes.reset();
  small.provenance.peak_bytes.reset();
  small.model.tokenizer_sha256.clear();
  small.constraints = Constraints::none(6);
  for (Target& target : small.targets) {
    target.holdout.reset();
    target.uniform_holdout.reset();
    target.compared.clear();
    target.random_holdout.reset();
  }
  small.searches.clear();
  small.warnings.clear();
  CHECK(result_from_json(to_json(small), "run.json") == small);
}

TEST_CASE("a pattern file is read back as it was written, every target of a result") {
  for (std::size_t t = 0; t < 2; ++t) {
    const StoredPattern stored = stored_pattern(example_result(), t, "pattern.yaml");
    const Json document = parse_yaml(to_yaml(to_json(stored)), "pattern.yaml");
    CHECK(stored_pattern_from_json(document, "pattern.yaml") == stored);
    // The target of a run.json is the same.
    CHECK(stored_pattern_of_document(to_json(example_result()), t == 0 ? "4" : "",
                                     "pattern.yaml") == stored);
  }
  const StoredPattern bare = stored_pattern_from_json(
      Json{{"schema", kPatternSchema}, {"pattern", "FSF"}, {"mine", 3}}, "p");
  CHECK(stored_pattern_from_json(to_json(bare), "p") == bare);
}

TEST_CASE("a drift is read back as it was written") {
  Drift drift = example_drift();
  drift.file = "drift.json";
  CHECK(drift.largest()->layer == 1);
  CHECK(drift_from_json(to_json(drift), "drift.json") == drift);
  Drift nothing = compare_overlap(Pattern::parse("FFFFFF"), example_overlap(), example_overlap());
  nothing.file = "d";
  nothing.tokens = drift.tokens;
  nothing.stored_tokens_sha256 = drift.stored_tokens_sha256;
  CHECK(to_json(nothing)["drop"].is_null());
  CHECK(drift_from_json(to_json(nothing), "d") == nothing);
}

TEST_CASE("every value of run.json removed or of another type: read or refused, never more") {
  std::size_t read = 0;
  std::size_t refused = 0;
  for_every_damage(to_json(example_result()), 64, [&](const Damage& damage) {
    INFO(damage.name);
    std::optional<Result> result;
    const std::string why =
        refusal([&] { result.emplace(result_from_json(damage.document, "run.json")); });
    ++(result ? read : refused);
    if (!result) {
      CHECK_THAT(why, Contains("run.json"));
      return;
    }
    // What is read can be written and is the same again.
    CHECK(result_from_json(to_json(*result), "run.json") == *result);
    for (std::size_t t = 0; t < result->targets.size(); ++t) to_pattern_yaml(*result, t);
  });
  CHECK(read > 0);
  CHECK(refused > 10 * read);
}

TEST_CASE("every value of pattern.yaml removed or of another type: read or refused") {
  const Json document = to_json(stored_pattern(example_result(), 1, "p"));
  for_every_damage(document, 64, [&](const Damage& damage) {
    INFO(damage.name);
    std::optional<StoredPattern> stored;
    refusal([&] { stored.emplace(stored_pattern_from_json(damage.document, "p")); });
    if (stored) CHECK(stored_pattern_from_json(to_json(*stored), "p") == *stored);
    // As a pattern it is readable exactly if it is as a result.
    const bool as_pattern =
        refusal([&] { pattern_of_document(damage.document, std::nullopt, "p"); }).empty();
    if (has_schema(damage.document)) CHECK(as_pattern == stored.has_value());
  });
}

TEST_CASE("every value of drift.json removed or of another type: read or refused") {
  for_every_damage(to_json(example_drift()), 64, [&](const Damage& damage) {
    INFO(damage.name);
    std::optional<Drift> drift;
    refusal([&] { drift.emplace(drift_from_json(damage.document, "d")); });
    if (!drift) return;
    CHECK(drift_from_json(to_json(*drift), "d") == *drift);
    CHECK_FALSE(drift_table(*drift).empty());
  });
}

TEST_CASE("what contradicts itself is refused with the key") {
  const auto refuses = [](const std::string& key, const std::string& tells, auto change) {
    const std::string why = refusal_after(change);
    INFO(key);
    CHECK_THAT(why, Contains(key));
    CHECK_THAT(why, Contains(tells));
  };
  refuses("targets[0].calibration.loss", "expected a finite number, found null",
          [](Json& run) { run["targets"][0]["calibration"]["loss"] = nullptr; });
  refuses("targets[1].donor_overlap[0].donor", "expected 0, found 3",
          [](Json& run) { run["targets"][1]["donor_overlap"][0]["donor"] = 3; });
  refuses("targets[1].donor_overlap", "2 entries, the pattern has 3 shared layers",
          [](Json& run) { run["targets"][1]["donor_overlap"].erase(2); });
  refuses("targets[1].donor_overlap[0].overlap", "from 0 to 1",
          [](Json& run) { run["targets"][1]["donor_overlap"][0]["overlap"] = 1.5; });
  refuses("targets[0].kept", "expected 4, found 5",
          [](Json& run) { run["targets"][0]["kept"] = 5; });
  refuses("targets[0].holdout.sequence_losses", "7 numbers, there are 8 sequences",
          [](Json& run) { run["targets"][0]["holdout"]["sequence_losses"].erase(0); });
  refuses("targets[0].holdout.worst_sequence", "expected",
          [](Json& run) { run["targets"][0]["holdout"]["worst_sequence"]["sequence"] = 2; });
  refuses("targets[0].holdout.ppl_ratio", "0.01 nats",
          [](Json& run) { run["targets"][0]["holdout"]["ppl_ratio"] = 3; });
  refuses("targets[0].holdout", "no held-out sequences",
          [](Json& run) { run["holdout"] = nullptr; });
  refuses("targets[1].pattern", "more indexers than the target before it",
          [](Json& run) { std::swap(run["targets"][0], run["targets"][1]); });
  refuses("targets", "there is no target", [](Json& run) { run["targets"] = Json::array(); });
  refuses("searches[0].path[1].considered[2].pattern",
          "it has 3 letters, patterns of this model have 6",
          [](Json& run) { run["searches"][0]["path"][1]["considered"][2]["pattern"] = "FFS"; });
  refuses("searches[1].start", "other than F and S",
          [](Json& run) { run["searches"][1]["start"] = "FFFFXS"; });
  refuses("baseline.pattern", "starts with S",
          [](Json& run) { run["baseline"]["pattern"] = "SFFFFF"; });
  refuses("baseline.pattern", "no indexer tensors", [](Json& run) {
    run["model"]["indexer_layers"] = {0, 1, 2, 3, 4};
  });
  refuses("model.indexer_layers[5]", "from 5 to 5",
          [](Json& run) { run["model"]["indexer_layers"][5] = 9; });
  refuses("model.config_sha256", "64 hexadecimal digits",
          [](Json& run) { run["model"]["config_sha256"] = "abc"; });
  refuses("model.layers", "from 1 to 4096", [](Json& run) { run["model"]["layers"] = 5000; });
  refuses("constraints.natively_shared", "expected []",
          [](Json& run) { run["constraints"]["natively_shared"] = {4}; });
  refuses("overlap.adjacent", "expected 5 numbers, found 4",
          [](Json& run) { run["overlap"]["adjacent"].erase(0); });
  refuses("overlap.blocks[0][1]", "from 4 to 5",
          [](Json& run) { run["overlap"]["blocks"][0][1] = 2; });
  refuses("calibration.prepared.total", "expected",
          [](Json& run) { run["calibration"]["prepared"]["total"]["documents"]["read"] = 41; });
  refuses("it has no key \"schema\"", "run.json", [](Json& run) { run.erase("schema"); });
  refuses("schema", "\"indexcache-run/9\"; this program reads indexcache-run/2",
          [](Json& run) { run["schema"] = "indexcache-run/9"; });
  refuses("calibration has no key \"tokens\"", "",
          [](Json& run) { run["calibration"].erase("tokens"); });
}

TEST_CASE("unknown keys do not disturb") {
  CHECK(refusal_after([](Json& run) {
          run["mine"] = 1;
          run["targets"][0]["mine"] = Json::array();
        }).empty());
}
