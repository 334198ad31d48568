// SPDX-License-Identifier: Apache-2.0
#include "search/race.h"

#include "search/paired.h"
#include "search/student_t.h"
#include "search/weighted_mean.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

namespace indexcache {
namespace {

constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

// Fisher and Yates. std::shuffle may differ between standard libraries.
std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t seed) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937_64 random(seed);
  for (std::size_t left = count; left > 1; --left) {
    std::swap(order[left - 1], order[static_cast<std::size_t>(random() % left)]);
  }
  return order;
}

// Mean over the sequences that `losses` and `reference` have both.
double mean_difference(const SequenceLosses& losses, const SequenceLosses& reference,
                       std::span<const double> weights) {
  return weighted_mean_of(differences(losses, reference), weights).mean;
}

// The racing pattern of least loss, or the incumbent.
const SequenceLosses& leader(const RaceRound& round, const SequenceLosses& incumbent,
                             std::span<const double> weights) {
  const SequenceLosses* best = incumbent.empty() ? nullptr : &incumbent;
  for (std::size_t p = 0; p < round.losses.size(); ++p) {
    if (!round.racing[p]) continue;
    if (best == nullptr || mean_difference(round.losses[p], *best, weights) < 0) {
      best = &round.losses[p];
    }
  }
  return *best;
}

}  // namespace

std::vector<std::vector<std::size_t>> race_rounds(std::size_t sequences, std::uint64_t order) {
  const std::vector<std::size_t> all = shuffled(sequences, order);
  std::vector<std::vector<std::size_t>> rounds;
  for (std::size_t seen = 0; seen < sequences;) {
    const std::size_t end = std::min(sequences, seen == 0 ? kFirstRound : 2 * seen);
    rounds.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(seen),
                        all.begin() + static_cast<std::ptrdiff_t>(end));
    std::ranges::sort(rounds.back());
    seen = end;
  }
  return rounds;
}

std::vector<SequenceLosses> race(Evaluator& evaluator, const std::optional<RaceRules>& rules,
                                 std::span<const Pattern> patterns, const RaceJudge& judge) {
  const std::size_t sequences = evaluator.weights().size();
  if (!rules || sequences < kFewestRaced || patterns.empty()) return evaluator.losses(patterns);
  const auto rounds = race_rounds(sequences, rules->order);
  const double error = (1 - rules->confidence) / static_cast<double>(rounds.size() - 1);
  std::vector<SequenceLosses> losses(patterns.size(), SequenceLosses(sequences, kNotMeasured));
  std::vector<bool> racing(patterns.size(), true);
  for (const auto& round : rounds) {
    std::vector<Pattern> runners;
    std::vector<std::size_t> places;
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      if (!racing[p]) continue;
      runners.push_back(patterns[p]);
      places.push_back(p);
    }
    if (runners.empty()) break;
    const auto measured = evaluator.losses(LossRequest{runners, round});
    for (std::size_t r = 0; r < runners.size(); ++r) {
      for (std::size_t i = 0; i < round.size(); ++i) losses[places[r]][round[i]] = measured[r][i];
    }
    if (&round == &rounds.back()) break;
    const std::vector<bool> stays = judge({losses, racing, 1 - error});
    for (std::size_t p = 0; p < patterns.size(); ++p) racing[p] = racing[p] && stays[p];
  }
  return losses;
}

double lower_confidence_bound(std::span<const double> differences, std::span<const double> weights,
                              double level) {
  const WeightedMean known = weighted_mean_of(differences, weights);
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (known.weight >= all) return known.mean;
  if (!known.error) return -std::numeric_limits<double>::infinity();
  const double error = *known.error * std::sqrt(1 - known.weight / all);
  return known.mean - student_t_quantile(level, known.count - 1) * error;
}

RaceJudge keeps_possible_winners(const Evaluator& evaluator, SequenceLosses incumbent) {
  return [&evaluator, incumbent = std::move(incumbent)](const RaceRound& round) {
    const SequenceLosses& best = leader(round, incumbent, evaluator.weights());
    std::vector<bool> stays(round.losses.size(), false);
    for (std::size_t p = 0; p < stays.size(); ++p) {
      if (!round.racing[p]) continue;
      const double worse = lower_confidence_bound(differences(round.losses[p], best),
                                                  evaluator.weights(), round.level);
      stays[p] = !(worse > 0);
    }
    return stays;
  };
}

Considered raced(const Evaluator& evaluator, const Pattern& pattern, const SequenceLosses& losses,
                 const SequenceLosses& reference) {
  Considered considered{pattern, 0, {}};
  for (std::size_t s = 0; s < losses.size(); ++s) {
    if (std::isnan(losses[s])) continue;
    considered.losses.push_back(losses[s]);
    considered.sequences.push_back(s);
  }
  if (considered.losses.size() == losses.size()) {
    considered.sequences.clear();
    considered.loss = evaluator.mean(losses);
  } else {
    considered.loss =
        evaluator.mean(reference) + mean_difference(losses, reference, evaluator.weights());
  }
  return considered;
}

}  // namespace indexcache
