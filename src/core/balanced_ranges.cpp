// SPDX-License-Identifier: Apache-2.0
#include "core/balanced_ranges.h"

namespace indexcache {
namespace {

// Of an interval of costs.
constexpr int kHalvings = 30;

// Where ranges begin that cost at most `limit`, unless a single item costs more.
std::vector<std::size_t> ranges_within(double limit, std::size_t items, const AddedCost& added) {
  std::vector<std::size_t> begins;
  double cost = 0;
  for (std::size_t i = 0; i < items; ++i) {
    const double more = begins.empty() ? 0 : added(i, begins.back());
    if (begins.empty() || cost + more > limit) {
      begins.push_back(i);
      cost = added(i, i);
    } else {
      cost += more;
    }
  }
  return begins;
}

}  // namespace

std::vector<std::size_t> balanced_ranges(std::size_t items, std::size_t parts,
                                         const AddedCost& added) {
  double low = 0, high = 0;
  for (std::size_t i = 0; i < items; ++i) high += added(i, i);
  for (int halving = 0; halving < kHalvings; ++halving) {
    const double middle = (low + high) / 2;
    (ranges_within(middle, items, added).size() <= parts ? high : low) = middle;
  }
  std::vector<std::size_t> edges = ranges_within(high, items, added);
  edges.push_back(items);
  return edges;
}

}  // namespace indexcache
