// SPDX-License-Identifier: Apache-2.0
#include "gate/gate_file.h"

#include "core/error.h"
#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::string refusal(const std::string& text) {
  const TempFolder folder;
  write_text(folder / "gate.yaml", text);
  try {
    read_gate(folder / "gate.yaml");
    return "accepted";
  } catch (const UsageError& error) {
    return error.describe();
  }
}

std::string with_guards(const std::string& guards) {
  return refusal("schema: indexcache-gate/1\nguards:\n" + guards);
}

}  // namespace

TEST_CASE("the gate that is shipped is a gate") {
  const Gate gate =
      read_gate(std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "configs/ci-gate.yaml");
  CHECK(gate.guards.size() == 7);
  CHECK(gate.guards[0].kind->name == std::string("max_holdout_delta"));
  CHECK(gate.guards[0].line == 6);
  CHECK(gate.sha256.size() == 64);
}

TEST_CASE("the gate's schema knows the guards that the program knows") {
  const auto path =
      std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "configs/schema/gate-1.schema.json";
  const Json schema = parse_json(read_file(path), path.string());
  const Json& known = schema["properties"]["guards"]["properties"];
  CHECK(known.size() == guard_kinds().size());
  for (const GuardKind& kind : guard_kinds()) CHECK(known.contains(kind.name));
}

TEST_CASE("a gate with an unknown key or without a guard is refused with its line") {
  CHECK_THAT(with_guards("  max_holdout_detla: 0.1\n"),
             Contains("gate.yaml:3") && Contains("did you mean max_holdout_delta?"));
  CHECK_THAT(with_guards("  first_layer_full: true\nextra: 1\n"),
             Contains("unknown key \"extra\"") && Contains("gate.yaml:4"));
  CHECK_THAT(with_guards("  {}\n"), Contains("it contains no guards"));
  CHECK_THAT(with_guards(""), Contains("it contains no guards"));
  CHECK_THAT(refusal("schema: indexcache-gate/1\n"), Contains("it contains no guards"));
  CHECK_THAT(refusal(""), Contains("not a map"));
  CHECK_THAT(refusal("guards: {first_layer_full: true}\n"), Contains("its schema is null"));
  CHECK_THAT(refusal("schema: indexcache-gate/2\nguards: {first_layer_full: true}\n"),
             Contains("indexcache-gate/2"));
  CHECK_THAT(with_guards("  pp_size: 2\n  pp_size: 4\n"), Contains("duplicate key"));
  CHECK_THAT(with_guards("  pp_size: [2\n"), Contains("not valid YAML"));
  CHECK_THROWS_AS(read_gate("no/such/gate.yaml"), UsageError);
}

TEST_CASE("a limit of another kind is refused with its line") {
  CHECK_THAT(with_guards("  pp_size: 2\n  max_ppl_ratio: high\n"),
             Contains("gate.yaml:4") && Contains("expected a number"));
  CHECK_THAT(with_guards("  max_ppl_ratio: .nan\n"), Contains("expected a number"));
  CHECK_THAT(with_guards("  max_kept_ratio: 25\n"), Contains("from 0 to 1"));
  CHECK_THAT(with_guards("  min_donor_overlap: -0.1\n"), Contains("from 0 to 1"));
  CHECK_THAT(with_guards("  first_layer_full: false\n"), Contains("leave the guard out"));
  CHECK_THAT(with_guards("  same_pattern: yes\n"), Contains("true"));
  CHECK_THAT(with_guards("  pp_size: 0\n"), Contains("pipeline stages"));
  CHECK_THAT(with_guards("  pp_size: 2.5\n"), Contains("pipeline stages"));
  CHECK_THAT(with_guards("  pp_partition: [20, 0]\n"), Contains("a list"));
  CHECK_THAT(with_guards("  pp_partition: []\n"), Contains("a list"));
  CHECK_THAT(with_guards("  same_fingerprint: []\n"), Contains("fields"));
  CHECK_THAT(with_guards("  same_fingerprint: device\n"), Contains("fields"));
}

TEST_CASE("speed-ups are limited by context") {
  const Gate gate = parse_gate(
      "schema: indexcache-gate/1\nguards:\n  min_prefill_speedup_at: {131072: 1.3, 32768: 1.1}\n",
      "gate.yaml");
  REQUIRE(gate.guards.size() == 1);
  using Contexts = std::vector<std::pair<std::int64_t, double>>;
  CHECK(gate.guards[0].limit.contexts == Contexts{{32768, 1.1}, {131072, 1.3}});
  for (const char* bad : {"1.3", "{}", "{many: 1.3}", "{0: 1.3}", "{8192: 0.9}", "{8192: fast}",
                          "{8192: .inf}", "[8192]"}) {
    INFO(bad);
    CHECK_THAT(with_guards(std::string("  min_prefill_speedup_at: ") + bad + "\n"),
               Contains("gate.yaml:3") && Contains("such as {131072: 1.3}"));
  }
}
