// SPDX-License-Identifier: Apache-2.0
// Stored matrices that are larger than the memory through which they go to a device.
#pragma once

#include "backend/weight_uploader.h"

#include <vector>

namespace indexcache {

// Copies of consecutive rows that together are `copy`. The stored bytes of each, numbers and
// scales, take at most `bytes`, unless fewer rows cannot be copied by themselves: blocks of scales
// are not divided, nor are heads. In the blob, the scales of some rows are not next to their
// numbers, and neither begins at a multiple of kBlobGrain.
std::vector<WeightCopy> cut_rows(const WeightCopy& copy, std::int64_t bytes);

}  // namespace indexcache
