// SPDX-License-Identifier: Apache-2.0
// Races: patterns are measured on a few sequences first, and those that cannot win leave before
// more sequences are added (docs/algorithm.md, "Races").
//
// All patterns of a race see the same sequences, so that their differences are paired. Whoever
// stays to the end was measured on all sequences.
#pragma once

#include "search/evaluator.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace indexcache {

struct RaceRules {
  // Confidence with which a pattern that leaves cannot win, for all rounds of its race together, in
  // (0.5, 1). 1: no pattern ever leaves.
  double confidence = 0.95;
  std::uint64_t order = 0;  // seed of the order in which sequences are added
};

// Sequences of the first round: two degrees of freedom.
inline constexpr std::size_t kFirstRound = 3;
// With fewer there is nothing to save.
inline constexpr std::size_t kFewestRaced = kFirstRound + 1;

// The sequences that each round adds, ascending within a round. The number that was seen doubles
// from round to round, until all are seen.
std::vector<std::vector<std::size_t>> race_rounds(std::size_t sequences, std::uint64_t order);

// What is known after a round that is not the last one.
struct RaceRound {
  std::span<const SequenceLosses> losses;  // [patterns][all sequences]; NaN: not measured
  const std::vector<bool>& racing;         // [patterns]
  double level;  // confidence of each comparison of this round, so that all rounds keep the race's
};

// Which of the patterns that are racing stay, [patterns].
using RaceJudge = std::function<std::vector<bool>(const RaceRound&)>;

// Losses of `patterns`, [patterns][all sequences], NaN for what was not measured. Without rules, or
// with fewer sequences than kFewestRaced, everything is.
std::vector<SequenceLosses> race(Evaluator& evaluator, const std::optional<RaceRules>& rules,
                                 std::span<const Pattern> patterns, const RaceJudge& judge);

// Lower confidence bound, at `level`, of the weighted mean of `differences` over all sequences,
// from those that are not NaN: Student's t for sampling without replacement from a finite set, so
// the bound is the mean itself if all are known. Minus infinity for fewer than two.
double lower_confidence_bound(std::span<const double> differences, std::span<const double> weights,
                              double level);

// Keeps patterns that may still have the least loss: those that are not worse than the leader of
// the round with confidence. `incumbent` (losses of all sequences; may be empty) can lead as well.
RaceJudge keeps_possible_winners(const Evaluator& evaluator, SequenceLosses incumbent = {});

// A pattern with losses that race() returned. If sequences are missing, its loss is estimated as
// that of `reference`, whose losses are all known, plus their mean difference on those that are
// not.
Considered raced(const Evaluator& evaluator, const Pattern& pattern, const SequenceLosses& losses,
                 const SequenceLosses& reference);

}  // namespace indexcache
