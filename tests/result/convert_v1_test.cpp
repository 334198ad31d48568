// SPDX-License-Identifier: Apache-2.0
// Files that version 0.1.0 wrote: run-1.json and pattern-1.yaml are of one run, run-2.json is the
// result of the same run as this version writes it.
#include "result/convert_v1.h"

#include "core/error.h"
#include "io/files.h"
#include "io/yaml.h"
#include "result/drift.h"
#include "result/pattern_file.h"
#include "result/result_json.h"
#include "support/catch.h"
#include "support/damage.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::filesystem::path stored(const std::string& name) {
  return std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "tests/result/v1" / name;
}

}  // namespace

TEST_CASE("a run.json of schema /1 is the result that a run of today writes") {
  const Result old = read_result(stored("run-1.json"));
  Result now = read_result(stored("run-2.json"));
  CHECK(old.provenance.search_seconds.has_value());
  now.provenance.created_at = old.provenance.created_at;
  now.provenance.search_seconds = old.provenance.search_seconds;
  now.provenance.planned_bytes = old.provenance.planned_bytes;
  now.provenance.peak_bytes = old.provenance.peak_bytes;
  CHECK(old == now);
}

TEST_CASE("a pattern.yaml of schema /1 says what its run says") {
  StoredPattern pattern = read_stored_pattern(stored("pattern-1.yaml"));
  StoredPattern run = read_stored_pattern(stored("run-1.json"));
  run.file = pattern.file;
  // The old file has neither times nor memory.
  run.provenance->search_seconds.reset();
  run.provenance->planned_bytes.reset();
  run.provenance->peak_bytes.reset();
  CHECK(pattern == run);
}

TEST_CASE("a drift.json of schema /1 is read") {
  const Drift drift = read_drift(stored("drift-1.json"));
  CHECK(drift.layers.size() == 4);
  CHECK(to_json(drift)["drop"] == read_document(stored("drift-1.json"))["drop"]);
}

TEST_CASE("every value of schema /1 removed or of another type: read or refused") {
  for (const char* name : {"run-1.json", "pattern-1.yaml", "drift-1.json"}) {
    const Json document = read_document(stored(name));
    const bool drift = document["schema"] == kDriftSchemaV1;
    for_every_damage(document, 64, [&](const Damage& damage) {
      INFO(name << ": " << damage.name);
      try {
        if (drift) {
          drift_from_json(damage.document, "x");
        } else {
          stored_pattern_of_document(damage.document, "", "x");
        }
      } catch (const InputError&) {
        // Anything else fails the test.
      }
    });
  }
}
