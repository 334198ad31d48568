// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include "support/catch.h"

#include <cmath>

using namespace indexcache;

namespace {

ModelConfig released(bool yarn) {
  ModelConfig config{};
  config.qk_rope_head_dim = 64;
  config.rope_theta = 10000;
  if (yarn) config.yarn = Yarn{40, 4096, 32, 1, 1, 1};
  return config;
}

double angle(const RopeTable& table, std::size_t index) {
  return std::atan2(table.sines[index], table.cosines[index]);
}

}  // namespace

TEST_CASE("YaRN keeps the fast waves and slows the slow ones by its factor") {
  // Released DeepSeek-V3.2: waves 0 to 10 as they are, 23 to 31 divided by 40.
  const RopeTable plain = make_rope_table(released(false), 2);
  const RopeTable yarn = make_rope_table(released(true), 2);
  for (std::size_t j = 0; j < 32; ++j) {
    const double ratio = angle(yarn, 32 + j) / angle(plain, 32 + j);
    INFO("wave " << j);
    if (j <= 10) CHECK(ratio == Approx(1).epsilon(1e-6));
    if (j >= 23) CHECK(ratio == Approx(1.0 / 40).epsilon(1e-4));
    if (j > 10 && j < 23) CHECK((ratio < 1 && ratio > 1.0 / 40));
  }
}

TEST_CASE("position 0 is not turned") {
  const RopeTable table = make_rope_table(released(true), 1);
  for (float c : table.cosines) CHECK(c == 1.0f);
  for (float s : table.sines) CHECK(s == 0.0f);
}
