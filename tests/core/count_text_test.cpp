// SPDX-License-Identifier: Apache-2.0
#include "core/count_text.h"

#include "support/catch.h"

#include <limits>

using namespace indexcache;

TEST_CASE("counts have a comma after every third digit from the right") {
  CHECK(count_text(0) == "0");
  CHECK(count_text(999) == "999");
  CHECK(count_text(1000) == "1,000");
  CHECK(count_text(154880) == "154,880");
  CHECK(count_text(1234567) == "1,234,567");
  CHECK(count_text(-999) == "-999");
  CHECK(count_text(-1000) == "-1,000");
  CHECK(count_text(std::numeric_limits<std::int64_t>::min()) == "-9,223,372,036,854,775,808");
}
