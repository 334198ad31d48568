// SPDX-License-Identifier: Apache-2.0
// Spreads the bits of a number.
#pragma once

#include <cstdint>

namespace indexcache {

// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): a bijection without visible pattern.
constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

}  // namespace indexcache
