// SPDX-License-Identifier: Apache-2.0
#include "search/baselines.h"

#include <vector>

namespace indexcache {

Pattern uniform_of_size(const Pattern& baseline, std::size_t full) {
  const std::vector<std::size_t> owners = baseline.full_layers();
  const std::size_t n = owners.size();
  const std::size_t period = (n + full - 1) / full;
  const bool periodic = (n + period - 1) / period == full;
  std::vector<bool> chosen(baseline.layers(), false);
  for (std::size_t i = 0; i < full; ++i)
    chosen[owners[periodic ? i * period : i * n / full]] = true;
  return Pattern::from_full_layers(chosen);
}

}  // namespace indexcache
