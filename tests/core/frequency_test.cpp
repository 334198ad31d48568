// SPDX-License-Identifier: Apache-2.0
#include "core/frequency.h"

#include "support/catch.h"

#include <algorithm>
#include <vector>

using namespace indexcache;

TEST_CASE("the four rules of frequency, on the counts of released models") {
  const auto count = [](FrequencyRule rule, std::size_t layers, std::int64_t offset) {
    return std::ranges::count(frequency_schedule(rule, layers, 4, offset), 'F');
  };
  CHECK(frequency_schedule(FrequencyRule::a, 14, 4, 0) == "FFSSSFSSSFSSSF");
  CHECK(frequency_schedule(FrequencyRule::b, 11, 4, 3) == "FFFSSSFSSSF");
  CHECK(frequency_schedule(FrequencyRule::c, 9, 4, 0) == "FSSSFSSSF");
  CHECK(frequency_schedule(FrequencyRule::d, 12, 4, 3) == "FFFFSSSFSSSF");
  const std::vector<std::size_t> layers = {61, 78, 47};
  const std::vector<std::vector<std::int64_t>> expected = {
      {16, 21, 13}, {17, 21, 14}, {16, 20, 12}, {18, 22, 14}};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    CHECK(count(FrequencyRule::a, layers[i], 0) == expected[0][i]);
    CHECK(count(FrequencyRule::b, layers[i], 3) == expected[1][i]);
    CHECK(count(FrequencyRule::c, layers[i], 0) == expected[2][i]);
    CHECK(count(FrequencyRule::d, layers[i], 3) == expected[3][i]);
  }
}

TEST_CASE("GLM-5.2's frequency 4 and offset 3 keep 21 of 78 layers, the last of them 74") {
  const std::string glm = frequency_schedule(FrequencyRule::b, 78, 4, 3);
  CHECK(std::ranges::count(glm, 'F') == 21);
  CHECK(glm.rfind('F') == 74);
  CHECK(frequency_schedule(FrequencyRule::b, 9, 4, 2) == "FFSSSFSSS");
}

TEST_CASE("an offset below 1 may share layer 0, as it does in engines that do not check it") {
  CHECK(frequency_schedule(FrequencyRule::b, 6, 2, 0) == "SFSFSF");
  CHECK(frequency_schedule(FrequencyRule::d, 6, 2, -1) == "SFSFSF");
}
