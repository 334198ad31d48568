// SPDX-License-Identifier: Apache-2.0
// Layouts of sequences and of their entries.
#pragma once

#include "backend/tensor.h"

#include <cstdint>
#include <initializer_list>

namespace indexcache::test {

inline RowLayout whole_sequences(std::initializer_list<std::int64_t> lengths) {
  RowLayout rows;
  for (const std::int64_t length : lengths) rows.append(length, 0);
  return rows;
}

// All positions of sequences, one of which is too short for an entry and one empty.
inline RowLayout positions_of_sequences() {
  return whole_sequences({150, 3, 0, 41});
}

inline RowLayout entries_of(const RowLayout& rows, std::int64_t ratio) {
  RowLayout entries;
  for (const Segment& segment : rows.segments) entries.append(segment.rows / ratio, 0, ratio);
  return entries;
}

}  // namespace indexcache::test
