// SPDX-License-Identifier: Apache-2.0
#include "run/contenders.h"

#include "search/paired.h"

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

// Losses of a pattern on all sequences, if a step compared it.
const SequenceLosses* losses_of(const PathStep& step, const Pattern& pattern) {
  for (const Considered& considered : step.considered) {
    if (considered.pattern == pattern && considered.complete()) return &considered.losses;
  }
  return nullptr;
}

Contender contender(const std::string& method, const Pattern& pattern, const SequenceLosses& losses,
                    const SequenceLosses& chosen, const std::vector<double>& weights) {
  const PairedDifference difference = paired_difference(losses, chosen, weights);
  return {method, pattern, difference.mean, difference.ci95};
}

}  // namespace

std::optional<Reached> best_reached(const std::vector<SearchPath>& paths, std::size_t full,
                                    const std::string& method) {
  std::optional<Reached> best;
  for (const SearchPath& path : paths) {
    if (!method.empty() && path.method != method) continue;
    for (const PathStep& step : path.steps) {
      if (step.pattern.full_count() != full || (best && best->step.loss <= step.loss)) continue;
      best = Reached{step, path.method};
    }
  }
  return best;
}

void add_contenders(Target& target, const std::vector<SearchPath>& paths,
                    const std::vector<std::string>& strategies, const SequenceLosses& chosen,
                    const std::vector<double>& weights) {
  const Pattern& pattern = target.calibration.pattern;
  for (const std::string& strategy : strategies) {
    const auto reached = best_reached(paths, pattern.full_count(), strategy);
    if (!reached) continue;
    const SequenceLosses* losses = losses_of(reached->step, reached->step.pattern);
    if (losses == nullptr) continue;
    target.strategies.push_back(
        contender(strategy, reached->step.pattern, *losses, chosen, weights));
  }
  for (const SearchPath& path : paths) {
    for_each_considered(path, [&](const Considered& considered) {
      if (!considered.complete() || considered.pattern == pattern) return;
      if (considered.pattern.full_count() != pattern.full_count()) return;
      if (std::ranges::count(target.ties, considered.pattern, &Contender::pattern) > 0) return;
      Contender rival =
          contender(path.method, considered.pattern, considered.losses, chosen, weights);
      if (rival.ci95 && rival.ci95->first <= 0 && rival.ci95->second >= 0) {
        target.ties.push_back(std::move(rival));
      }
    });
  }
  std::ranges::stable_sort(target.ties, {}, &Contender::difference);
}

}  // namespace indexcache
