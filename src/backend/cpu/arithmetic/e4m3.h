// SPDX-License-Identifier: Apache-2.0
// Every E4M3 number by its code.
#pragma once

#include "core/dtype.h"

#include <array>
#include <cstdint>

namespace indexcache::cpu {

inline constexpr std::array<float, 256> kE4m3 = [] {
  std::array<float, 256> values{};
  for (std::size_t code = 0; code < values.size(); ++code) {
    values[code] = e4m3_to_float(static_cast<std::uint8_t>(code));
  }
  return values;
}();

}  // namespace indexcache::cpu
