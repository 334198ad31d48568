// SPDX-License-Identifier: Apache-2.0
#include "present/verdict_metrics.h"

#include "support/catch.h"
#include "support/example_profile.h"
#include "support/example_result.h"

#include <fmt/format.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

Verdict verdict_of(const StoredPattern& result, const std::optional<Drift>& drift,
                   const std::optional<Profile>& profile = std::nullopt) {
  const Gate gate = parse_gate(
      "schema: indexcache-gate/1\nguards:\n  max_holdout_delta: 0.05\n  max_kept_ratio: 0.1\n"
      "  first_layer_full: true\n  max_mean_overlap_drop: 0.02\n"
      "  min_prefill_speedup_at: {8192: 1.125, 32768: 1.5}\n",
      "gate.yaml");
  return apply_gate(gate, result, std::nullopt, drift, profile);
}

Drift drift_of(const Pattern& pattern) {
  Drift drift = compare_overlap(pattern, example_overlap(), example_overlap());
  for (LayerDrift& layer : drift.layers) layer.change = {0.5, 0.375};
  return drift;
}

}  // namespace

TEST_CASE("metrics hold the guards, the donors, the drift and the profile") {
  const StoredPattern result = stored_pattern(example_result(), 1, "run.json");
  const Drift drift = drift_of(result.pattern);
  const std::string labels =
      fmt::format("model=\"{}\",pattern=\"{}\"", result.model->name, result.pattern.text());
  const auto has = [&](const std::string& text, const std::string& name, const std::string& rest,
                       const std::string& value) {
    return text.find(fmt::format("\nindexcache_{}{{{}{}}} {}\n", name, labels, rest, value)) !=
           std::string::npos;
  };
  Profile profile = example_profile(result.pattern.layers());
  profile.patterns[1].pattern = result.pattern;
  profile.prefill[1].times[1].seconds = profile.prefill[1].times[0].seconds / 1.25;
  const std::string text = verdict_metrics(verdict_of(result, drift, profile), &drift, &profile);
  CHECK(
      text.starts_with("# TYPE indexcache_gate_passed gauge\n# HELP indexcache_gate_passed 1 if"));
  CHECK(text.ends_with("\n# EOF\n"));
  CHECK(has(text, "gate_passed", "", "0"));
  CHECK(has(text, "guard_passed", ",guard=\"max_kept_ratio\"", "0"));
  CHECK(has(text, "guard_passed", ",guard=\"first_layer_full\"", "1"));
  CHECK(has(text, "guard_measured", ",guard=\"max_mean_overlap_drop\"", "0.125"));
  CHECK(has(text, "guard_limit", ",guard=\"max_mean_overlap_drop\"", "0.02"));
  CHECK(text.find("guard_limit{" + labels + ",guard=\"first_layer_full\"") == std::string::npos);
  CHECK(has(text, "layers", "", fmt::format("{}", result.pattern.layers())));
  CHECK(has(text, "full_layers", "", fmt::format("{}", result.pattern.full_count())));
  CHECK(has(text, "loss_increase_nats", "", fmt::format("{}", result.held_out()->delta.mean)));
  REQUIRE_FALSE(result.target->donors.empty());
  for (const DonorOverlap& donor : result.target->donors) {
    const std::string layer = fmt::format(",layer=\"{}\",donor=\"{}\"", donor.layer, donor.donor);
    CHECK(has(text, "donor_overlap", layer, fmt::format("{}", donor.overlap)));
    CHECK(has(text, "donor_overlap_now", layer, "0.375"));
  }
  CHECK(has(text, "mean_overlap_drop", "", "0.125"));
  const std::string speed = ",guard=\"min_prefill_speedup_at\"";
  CHECK(has(text, "guard_measured", speed, "1.25"));  // at the context that misses its limit most
  CHECK(has(text, "guard_limit", speed + ",context=\"8192\"", "1.125"));
  CHECK(has(text, "guard_limit", speed + ",context=\"32768\"", "1.5"));
  CHECK(has(text, "prefill_speed_up", ",context=\"32768\"", "1.25"));
}

TEST_CASE("metrics leave out what is missing, and no name ends a label") {
  StoredPattern result = stored_pattern(example_result(), 1, "run.json");
  result.model->name = "a\"b\\c\nd}\xFF";
  result.target->holdout.reset();
  const std::string text = verdict_metrics(verdict_of(result, std::nullopt), nullptr, nullptr);
  CHECK_THAT(text, Contains("{model=\"a\\\"b\\\\c\\nd}\xEF\xBF\xBD\",pattern="));
  CHECK_THAT(text,
             !Contains("loss_increase") && !Contains("prefill_speed_up") &&
                 !Contains("donor_overlap_now") &&
                 !Contains("guard_measured{model=\"a\\\"b\\\\c\\nd}\xEF\xBF\xBD\",pattern=\"" +
                           result.pattern.text() + "\",guard=\"max_holdout_delta\""));
}
