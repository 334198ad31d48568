// SPDX-License-Identifier: Apache-2.0
// Reproducible numbers for tests.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace indexcache::test {

inline std::vector<float> random_floats(std::size_t count, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(engine()) / 2147483648.0f - 1.0f;  // the engine is portable
  }
  return values;
}

}  // namespace indexcache::test
