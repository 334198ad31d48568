// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include "core/progress.h"
#include "support/catch.h"

using namespace indexcache;

TEST_CASE("an error says what, where, why and what to try, and nothing that it does not know") {
  const InputError full({"it broke", "file:3", "because", "that"});
  CHECK(full.describe() == "error: it broke\n  at:  file:3\n  why: because\n  try: that\n");
  CHECK(UsageError({"it broke", "", "", ""}).describe() == "error: it broke\n");
}

TEST_CASE("every kind of error owns its exit code") {
  CHECK(static_cast<int>(UsageError({}).code()) == 2);
  CHECK(static_cast<int>(InputError({}).code()) == 3);
  CHECK(static_cast<int>(ResourceError({}).code()) == 4);
  CHECK(static_cast<int>(ResumeMismatch({}).code()) == 5);
  CHECK(static_cast<int>(InternalError({}).code()) == 70);
}

TEST_CASE("durations read as a clock") {
  CHECK(format_duration(7.4) == "0:07");
  CHECK(format_duration(750) == "12:30");
  CHECK(format_duration(11045) == "3:04:05");
}
