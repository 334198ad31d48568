// SPDX-License-Identifier: Apache-2.0
#include "backend/stored_rows.h"

#include <algorithm>
#include <numeric>

namespace indexcache {
namespace {

// All rows are copied, in their order.
bool takes_all(const WeightCopy& copy) {
  return copy.heads.count == copy.heads.rows && !copy.heads.transposed;
}

// Rows of `out` per head.
std::int64_t out_rows(const WeightCopy& copy) {
  return copy.heads.transposed ? copy.from.cols : copy.heads.count;
}

// The least number of rows that can be copied by themselves.
std::int64_t unit_rows(const WeightCopy& copy) {
  const std::int64_t of_heads = takes_all(copy) ? 1 : copy.heads.rows;
  return copy.from.scales_at < 0 ? of_heads : std::lcm(of_heads, copy.from.block_rows);
}

WeightCopy rows_of(const WeightCopy& copy, std::int64_t first, std::int64_t count) {
  WeightCopy part = copy;
  part.from.rows = count;
  part.from.at += first * copy.from.row_bytes();
  if (copy.from.scales_at >= 0) {
    part.from.scales_at += first / copy.from.block_rows * copy.from.scale_row_bytes();
  }
  if (takes_all(copy)) {
    part.heads = {count, 0, count, false};
    part.out = copy.out.row_range(first, count);
  } else {
    const std::int64_t of_head = out_rows(copy);
    part.out =
        copy.out.row_range(first / copy.heads.rows * of_head, count / copy.heads.rows * of_head);
  }
  return part;
}

}  // namespace

std::vector<WeightCopy> cut_rows(const WeightCopy& copy, std::int64_t bytes) {
  const std::int64_t unit = unit_rows(copy);
  StoredMatrix of_unit = copy.from;
  of_unit.rows = unit;
  const std::int64_t unit_bytes = unit * of_unit.row_bytes() + of_unit.scale_bytes();
  const std::int64_t room = bytes - 2 * kBlobGrain;  // numbers and scales are rounded up
  const std::int64_t units = std::max<std::int64_t>(room / unit_bytes, 1);
  std::vector<WeightCopy> parts;
  for (std::int64_t first = 0; first < copy.from.rows; first += units * unit) {
    parts.push_back(rows_of(copy, first, std::min(units * unit, copy.from.rows - first)));
  }
  return parts;
}

}  // namespace indexcache
