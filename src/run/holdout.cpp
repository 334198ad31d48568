// SPDX-License-Identifier: Apache-2.0
#include "run/holdout.h"

#include "search/baselines.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

namespace indexcache {
namespace {

// Patterns of one sweep, and where what is measured of each goes.
class HoldoutSweep {
 public:
  using Place = std::function<void(Measured)>;

  void add(Pattern pattern, Place place) {
    patterns_.push_back(std::move(pattern));
    places_.push_back(std::move(place));
  }

  HoldoutBaseline measure(Instruments& instruments, const Pattern& baseline) {
    patterns_.insert(patterns_.begin(), baseline);
    const FidelityPass pass = instruments.measure_fidelity(DataSide::holdout, patterns_);
    for (std::size_t p = 1; p < patterns_.size(); ++p) {
      places_[p - 1]({patterns_[p], weighted_mean(pass.losses[p], pass.weights), pass.losses[p],
                      paired_difference(pass.losses[p], pass.losses[0], pass.weights),
                      pass.fidelity[p]});
    }
    return {weighted_mean(pass.losses[0], pass.weights), pass.losses[0]};
  }

 private:
  std::vector<Pattern> patterns_;
  std::vector<Place> places_;
};

void add_random(HoldoutSweep& sweep, const SearchSpace& space, Target& target) {
  const std::vector<Pattern> patterns =
      random_patterns(space, target.calibration.pattern.full_count(), kRandomPatterns);
  const std::size_t count = patterns.size();
  for (const Pattern& pattern : patterns) {
    sweep.add(pattern, [&target, count](const Measured& measured) {
      const double delta = measured.delta.mean;
      if (!target.random_holdout) target.random_holdout = RandomPatterns{count, 0, delta, delta};
      RandomPatterns& random = *target.random_holdout;
      random.mean += delta / static_cast<double>(count);
      random.least = std::min(random.least, delta);
      random.most = std::max(random.most, delta);
    });
  }
}

void add_patterns(HoldoutSweep& sweep, const SearchSpace& space, const Overlap& overlap,
                  Target& target) {
  const Pattern& chosen = target.calibration.pattern;
  const std::size_t full = chosen.full_count();
  sweep.add(chosen, [&target](Measured measured) { target.holdout = std::move(measured); });
  sweep.add(uniform_of_size(space.start, full),
            [&target](Measured measured) { target.uniform_holdout = std::move(measured); });
  const auto compare_with = [&](const std::string& name, const Pattern& pattern) {
    sweep.add(pattern, [&target, name](Measured measured) {
      target.compared.push_back({name, std::move(measured)});
    });
  };
  if (const auto by_overlap = overlap_pattern(overlap, space.start, space.constraints, full)) {
    compare_with("overlap", *by_overlap);
  }
  for (const Contender& strategy : target.strategies)
    compare_with(strategy.method, strategy.pattern);
  add_random(sweep, space, target);
}

}  // namespace

HoldoutBaseline measure_holdout(Instruments& instruments, const SearchSpace& space,
                                const Overlap& overlap, std::span<Target> targets) {
  instruments.begin({Phase::holdout}, "held-out sequences");
  HoldoutSweep sweep;
  for (Target& target : targets) add_patterns(sweep, space, overlap, target);
  return sweep.measure(instruments, space.start);
}

}  // namespace indexcache
