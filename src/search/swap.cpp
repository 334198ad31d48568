// SPDX-License-Identifier: Apache-2.0
#include "search/swap.h"

#include "search/paired.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace indexcache {
namespace {

class SwapSearch {
 public:
  SwapSearch(Evaluator& evaluator, const SearchSpace& space, const RefinementStart& start,
             Improvement counts)
      : evaluator_(evaluator),
        space_(space),
        predict_(start.predict),
        error_(start.prediction_error),
        counts_(counts),
        pattern_(start.from.pattern),
        loss_(start.from.loss) {}

  void run(const SearchSink& sink) {
    if (counts_ == Improvement::beyond_error || space_.races) {
      losses_ = evaluator_.losses_of(pattern_);
    }
    for (std::size_t round = 0; round < pattern_.layers(); ++round) {
      std::vector<Pattern> neighbors = swap_neighbors(pattern_, space_);
      const std::size_t count = neighbors.size();
      std::vector<Considered> measured;
      const Considered* best = nullptr;
      for (;;) {
        std::vector<Pattern> promising = take_promising(neighbors);
        if (promising.empty()) break;
        measure(promising, measured);
        best = best_improvement(measured);
        if (best != nullptr) break;
      }
      if (best == nullptr) return sink.ended({count, std::move(measured)});
      pattern_ = best->pattern;
      loss_ = best->loss;
      losses_ = best->losses;
      sink.step({pattern_, loss_, std::move(measured)});
    }
  }

 private:
  // Removes from `neighbors` those that may be better than the pattern.
  std::vector<Pattern> take_promising(std::vector<Pattern>& neighbors) const {
    const auto unlikely = [&](const Pattern& neighbor) {
      const auto predicted = predict_ ? predict_(neighbor) : std::nullopt;
      return predicted && *predicted - error_ >= loss_;
    };
    const auto rest = std::stable_partition(neighbors.begin(), neighbors.end(), unlikely);
    std::vector<Pattern> promising(rest, neighbors.end());
    neighbors.erase(rest, neighbors.end());
    return promising;
  }

  // What is measured may show a larger error, and then more neighbors are promising.
  void measure(const std::vector<Pattern>& patterns, std::vector<Considered>& measured) {
    const auto losses =
        race(evaluator_, space_.races, patterns, keeps_possible_winners(evaluator_, losses_));
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      Considered considered = raced(evaluator_, patterns[p], losses[p], losses_);
      const auto predicted = predict_ ? predict_(patterns[p]) : std::nullopt;
      if (predicted && considered.complete()) {
        error_ = std::max(error_, std::abs(considered.loss - *predicted));
      }
      measured.push_back(std::move(considered));
    }
  }

  bool improves(const Considered& considered) const {
    if (!considered.complete() || considered.loss >= loss_) return false;
    if (counts_ == Improvement::any) return true;
    const auto error = standard_error(considered.losses, losses_, evaluator_.weights());
    return loss_ - considered.loss > error.value_or(0);
  }

  const Considered* best_improvement(const std::vector<Considered>& measured) const {
    const Considered* best = nullptr;
    for (const Considered& considered : measured) {
      if (!improves(considered)) continue;
      if (best == nullptr || considered.loss < best->loss) best = &considered;
    }
    return best;
  }

  Evaluator& evaluator_;
  const SearchSpace& space_;
  const std::function<std::optional<double>(const Pattern&)>& predict_;
  double error_;
  Improvement counts_;
  Pattern pattern_;
  double loss_;
  SequenceLosses losses_;
};

}  // namespace

std::vector<Pattern> swap_neighbors(const Pattern& pattern, const SearchSpace& space) {
  std::vector<Pattern> neighbors;
  for (std::size_t gives = 1; gives < pattern.layers(); ++gives) {
    if (!pattern.is_full(gives)) continue;
    const Pattern without = pattern.with_shared(gives);
    for (std::size_t takes = 1; takes < pattern.layers(); ++takes) {
      if (pattern.is_full(takes)) continue;
      Pattern neighbor = without.with_full(takes);
      if (space.holds(neighbor)) neighbors.push_back(std::move(neighbor));
    }
  }
  return neighbors;
}

void refine_by_swaps(Evaluator& evaluator, const SearchSpace& space, const RefinementStart& start,
                     Improvement counts, const SearchSink& sink) {
  SwapSearch(evaluator, space, start, counts).run(sink);
}

void swap_refine(Evaluator& evaluator, const SearchSpace& space, const RefinementStart& start,
                 const SearchSink& sink) {
  refine_by_swaps(evaluator, space, start, Improvement::beyond_error, sink);
}

}  // namespace indexcache
