// SPDX-License-Identifier: Apache-2.0
// What a sweep needs of a device's memory, from sizes only, and how it is cut to fit: waves of
// sequences, groups of patterns, chunks of rows. Cutting does not change a bit of any loss.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "core/pattern.h"
#include "model/config.h"
#include "search/segment_indexers.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace indexcache {

// What sweeps may hold at a time, in addition to the weights. They are cut to fit; losses do not
// depend on it.
struct SweepMemory {
  std::int64_t memory_bytes = std::int64_t{512} << 20;
  // Limit for waves of several sequences and for chunks of rows, if that is less.
  std::int64_t wave_bytes = std::numeric_limits<std::int64_t>::max();
  // Refuse what does not fit however it is cut, instead of trying.
  bool enforce = false;
};

// Positions first, …, first + count - 1 of a list of sequences.
struct SequenceRange {
  std::size_t first;
  std::size_t count;
};

struct SweepPlan {
  std::vector<SequenceRange> waves;
  std::size_t patterns;     // of a wave, at most, the reference included
  std::int64_t chunk_rows;  // that pass through a layer at a time
  // The most that any wave holds, by kind; weights are not counted.
  std::array<std::int64_t, kMemoryKinds> bytes;
  bool fits;  // the smallest cut needs no more than was given

  std::int64_t total() const;
};

// Patterns that are swept together; the first is the reference if there is one.
using PatternGroups = std::vector<std::vector<Pattern>>;

// Plans the sweeps of one model on one device over one token set. The references must outlive it.
class SweepPlanner {
 public:
  // `reference`: a pattern that runs along in every sweep. `indexers`: as in SweepGoal.
  SweepPlanner(const ModelConfig& config, const Device& backend, const TokenSet& tokens,
               SweepMemory memory, std::optional<Pattern> reference = std::nullopt,
               const SegmentIndexers* indexers = nullptr);

  // For some sequences of the token set: the most patterns at a time, then the fewest waves. How
  // many patterns, and the size of chunks, depend on all sequences of the set, so that a list that
  // begins where a wave ended is cut into the waves that would have followed. `kept_row_bytes`: of
  // index sets that an observer keeps for each row until the end of a wave.
  SweepPlan plan(std::size_t patterns, std::span<const std::size_t> sequences,
                 std::int64_t kept_row_bytes = 0) const;
  // The same for all sequences.
  SweepPlan plan(std::size_t patterns, std::int64_t kept_row_bytes = 0) const;

  // The patterns of a sweep in groups as `plan` cuts them, in order, each with the reference.
  PatternGroups groups(std::span<const Pattern> patterns, const SweepPlan& plan) const;

  // Throws ResourceError naming what would fit if memory is enforced and `plan` does not fit.
  void require_fit(const SweepPlan& plan) const;

  const ModelConfig& config() const { return config_; }
  const TokenSet& tokens() const { return tokens_; }
  const std::optional<Pattern>& reference() const { return reference_; }
  const SegmentIndexers* indexers() const { return indexers_; }
  // Patterns of a group besides those that were asked for.
  std::size_t reference_count() const { return reference_ ? 1 : 0; }

 private:
  const ModelConfig& config_;
  const Device& backend_;
  const TokenSet& tokens_;
  SweepMemory memory_;
  std::optional<Pattern> reference_;
  const SegmentIndexers* indexers_;
};

}  // namespace indexcache
