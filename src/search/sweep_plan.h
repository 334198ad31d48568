// SPDX-License-Identifier: Apache-2.0
// What a sweep needs of a device's memory, from sizes alone, and how it is cut to fit: waves of
// sequences, groups of patterns, chunks of rows. Cutting does not change a bit of any loss.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "model/config.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace indexcache {

// What decides the sizes of one sweep.
struct SweepShape {
  const ModelConfig& config;
  const Backend& backend;
  const TokenSet& tokens;
  std::size_t patterns;         // that are evaluated together
  std::int64_t kept_row_bytes;  // of index sets that an observer keeps for each row
};

struct SequenceRange {
  std::size_t first;
  std::size_t count;
};

struct SweepPlan {
  std::vector<SequenceRange> waves;
  std::size_t patterns;     // of a wave, at most
  std::int64_t chunk_rows;  // that pass through a layer at a time
  // The most that any wave holds, by kind; weights are not counted.
  std::array<std::int64_t, kMemoryKinds> bytes;
  bool fits;  // the smallest cut needs no more than was given

  std::int64_t total() const;
};

// Plans for `available` bytes: the most patterns at a time, then the fewest waves. Waves of several
// sequences and chunks of rows keep within `preferred`, which is not more. Waves begin at sequence
// `first`; patterns and chunks are those of all sequences.
SweepPlan plan_sweep(const SweepShape& shape, std::int64_t available, std::int64_t preferred,
                     std::size_t first = 0);

}  // namespace indexcache
