// SPDX-License-Identifier: Apache-2.0
// Counts of pairs of layers, as Backend::overlap_counts returns them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace indexcache {

// Copies the upper triangle of every [layers, layers] matrix to the lower one.
inline void mirror(std::vector<std::int64_t>& counts, std::size_t layers) {
  for (std::size_t m = 0; m < counts.size(); m += layers * layers) {
    for (std::size_t i = 0; i < layers; ++i) {
      for (std::size_t j = 0; j < i; ++j) counts[m + i * layers + j] = counts[m + j * layers + i];
    }
  }
}

}  // namespace indexcache
