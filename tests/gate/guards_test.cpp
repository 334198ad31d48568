// SPDX-License-Identifier: Apache-2.0
#include "gate/guards.h"

#include "io/files.h"
#include "support/catch.h"
#include "support/example_result.h"
#include "support/files.h"

#include <filesystem>

using namespace indexcache;
using namespace indexcache::test;

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
