// SPDX-License-Identifier: Apache-2.0
// Items in a fixed order, cut into consecutive ranges of nearly equal cost.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace indexcache {

// What `item` adds to a range that began with item `first` and has all items between them; not
// negative. The ranges are the best if one that begins earlier costs no less.
using AddedCost = std::function<double(std::size_t item, std::size_t first)>;

// Where each of at most `parts` ranges begins, and `items` at the end, such that the most expensive
// range costs as little as it can (to one part in 10^9 of all). No range is empty.
std::vector<std::size_t> balanced_ranges(std::size_t items, std::size_t parts,
                                         const AddedCost& added);

}  // namespace indexcache
