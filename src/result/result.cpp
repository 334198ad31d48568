// SPDX-License-Identifier: Apache-2.0
#include "result/result.h"

namespace indexcache {

std::vector<DonorOverlap> donor_overlaps(const Pattern& pattern, const Overlap& overlap) {
  std::vector<DonorOverlap> donors;
  for (const std::size_t layer : pattern.shared_layers()) {
    const std::size_t donor = pattern.donor(layer);
    donors.push_back({layer, donor, overlap.mean(layer, donor)});
  }
  return donors;
}

OverlapSummary summarize(const Overlap& overlap) {
  OverlapSummary summary{overlap.adjacent(), {}, overlap.query_step};
  for (const OverlapBlock& block : find_blocks(overlap)) {
    summary.blocks.emplace_back(block.first, block.last);
  }
  return summary;
}

}  // namespace indexcache
