// SPDX-License-Identifier: Apache-2.0
#include "gate/verdict.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/example_profile.h"
#include "support/example_result.h"
#include "support/files.h"
#include "support/refusal.h"

#include <filesystem>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// The judgement of a gate with this guard.
GuardResult judged(const std::string& guard, const StoredPattern& result,
                   const std::optional<Profile>& profile) {
  const Gate gate = parse_gate("schema: indexcache-gate/1\nguards:\n  " + guard + "\n", "g.yaml");
  return apply_gate(gate, result, std::nullopt, std::nullopt, profile).guards.front();
}

}  // namespace

TEST_CASE("every guard of the table judges whatever evidence there is") {
  const StoredPattern whole = stored_pattern(example_result(), 1, "a");
  StoredPattern bare = whole;
  bare.target.reset();
  bare.model.reset();
  bare.fingerprint.clear();
  const Limit limit{.text = "1", .number = 1, .sizes = {2, 4}, .fields = {"device"}};
  for (const GuardKind& kind : guard_kinds()) {
    INFO(kind.name);
    for (const StoredPattern* result : std::initializer_list<const StoredPattern*>{&whole, &bare}) {
      const Finding alone = kind.judge({*result, nullptr, nullptr}, limit);
      CHECK_FALSE(alone.limit.empty());
      CHECK((alone.value.has_value() || !alone.passed));
      CHECK_FALSE(kind.judge({*result, &bare, nullptr}, limit).detail.empty());
    }
  }
}

TEST_CASE("every guard of the table is documented") {
  const std::string text = read_file(std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "docs/ci.md");
  for (const GuardKind& kind : guard_kinds()) {
    CHECK_THAT(text, Contains("`" + std::string(kind.name) + "`"));
  }
}

TEST_CASE("the speed-up of a prefill is that of the profile, at exactly these contexts") {
  StoredPattern result = stored_pattern(example_result(), 1, "a");
  Profile profile = example_profile();
  profile.patterns[1].pattern = result.pattern;
  const auto at = [&](const std::string& limits) {
    return judged("min_prefill_speedup_at: " + limits, result, profile);
  };
  const GuardResult passing = at("{32768: 1.25}");
  CHECK(passing.passed);
  CHECK(passing.measured == "1.25");
  CHECK(passing.limit == ">= 1.25");
  CHECK_THAT(passing.detail, Contains("32768 tokens, cuda Test"));
  // 1.103 at 8,192 tokens: the worse of the two in proportion to its limit.
  const GuardResult failing = at("{8192: 1.2, 32768: 1.25}");
  CHECK_FALSE(failing.passed);
  CHECK(failing.limit == ">= 1.2");
  CHECK_THAT(failing.detail, Contains("8192 tokens"));
  CHECK_FALSE(at("{32768: 1.2501}").passed);
  const GuardResult elsewhere = at("{32768: 1.1, 65536: 1.3}");
  CHECK_FALSE(elsewhere.passed);
  CHECK(elsewhere.measured == "missing");
  CHECK_THAT(elsewhere.detail, Contains("no prefill of 65536 tokens"));
  const std::string guard = "min_prefill_speedup_at: {8192: 1.0}";
  CHECK_THAT(judged(guard, result, std::nullopt).detail, Contains("--profile was not given"));
  CHECK_THAT(judged(guard, result, example_profile()).detail,
             Contains("has not measured this pattern"));
  CHECK_THAT(refusal_of([&] { judged(guard, result, example_profile(5)); }),
             Contains("the profile is of a different model"));
}
