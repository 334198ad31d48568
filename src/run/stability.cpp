// SPDX-License-Identifier: Apache-2.0
#include "run/stability.h"

#include "search/segments.h"
#include "search/subset_evaluator.h"

#include <array>
#include <utility>

namespace indexcache {
namespace {

std::vector<std::size_t> every_second(std::size_t count, std::size_t first) {
  std::vector<std::size_t> sequences;
  for (std::size_t s = first; s < count; s += 2) sequences.push_back(s);
  return sequences;
}

}  // namespace

std::vector<std::vector<HalfChoice>> search_halves(Evaluator& evaluator, const SearchSpace& space) {
  SearchSpace whole = space;
  whole.races.reset();
  const std::size_t count = evaluator.weights().size();
  std::array<SubsetEvaluator, 2> halves = {SubsetEvaluator(evaluator, every_second(count, 0)),
                                           SubsetEvaluator(evaluator, every_second(count, 1))};
  std::vector<std::vector<HalfChoice>> choices(space.targets.size());
  for (SubsetEvaluator& half : halves) {
    std::size_t target = 0;
    segments_search(half, whole, [&](const PathStep& step) {
      choices[target++].push_back({step.pattern, 0});
    });
  }
  for (std::vector<HalfChoice>& choice : choices) {
    const std::array patterns = {choice[0].pattern, choice[1].pattern};
    for (const std::size_t half : {0, 1}) {
      SubsetEvaluator& other = halves[1 - half];
      const auto losses = other.losses(patterns);
      choice[half].regret = other.mean(losses[half]) - other.mean(losses[1 - half]);
    }
  }
  return choices;
}

}  // namespace indexcache
