// SPDX-License-Identifier: Apache-2.0
#include "search/baselines.h"

namespace indexcache {

Pattern uniform_of_size(const std::vector<bool>& has_indexer, std::size_t full) {
  std::vector<std::size_t> owners;
  for (std::size_t layer = 0; layer < has_indexer.size(); ++layer) {
    if (has_indexer[layer]) owners.push_back(layer);
  }
  const std::size_t n = owners.size();
  const std::size_t period = (n + full - 1) / full;
  const bool periodic = (n + period - 1) / period == full;
  std::vector<bool> chosen(has_indexer.size(), false);
  for (std::size_t i = 0; i < full; ++i)
    chosen[owners[periodic ? i * period : i * n / full]] = true;
  return Pattern::from_full_layers(chosen);
}

}  // namespace indexcache
