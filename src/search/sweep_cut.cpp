// SPDX-License-Identifier: Apache-2.0
#include "search/sweep_cut.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace indexcache {
namespace {

// More tasks per worker do not balance better.
constexpr std::size_t kTasksPerWorker = 8;
// Estimates are wrong by about so much: the last task may take that much longer.
constexpr double kUncertainty = 0.2;
// A cut into more tasks has to be shorter by so much.
constexpr double kLeastGain = 0.01;

// Layers on which two patterns agree, from the first one on.
std::size_t common_prefix(const Pattern& a, const Pattern& b) {
  std::size_t layer = 0;
  while (layer < a.layers() && a.is_full(layer) == b.is_full(layer)) ++layer;
  return layer;
}

std::vector<std::size_t> lexicographic(std::span<const Pattern> patterns) {
  std::vector<std::string> texts;
  for (const Pattern& pattern : patterns) texts.push_back(pattern.text());
  std::vector<std::size_t> order(patterns.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {},
                           [&](std::size_t p) -> const std::string& { return texts[p]; });
  return order;
}

// Sequences in `parts` bins of about equal work: the most expensive ones first, each into the bin
// that has least.
std::vector<std::vector<std::size_t>> sequence_parts(std::span<const std::size_t> sequences,
                                                     std::span<const double> seconds,
                                                     std::size_t parts) {
  std::vector<std::size_t> order(sequences.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t i) { return seconds[i]; });
  std::vector<std::vector<std::size_t>> bins(parts);
  std::vector<double> filled(parts, 0.0);
  for (const std::size_t i : order) {
    const auto least = std::ranges::min_element(filled) - filled.begin();
    bins[static_cast<std::size_t>(least)].push_back(sequences[i]);
    filled[static_cast<std::size_t>(least)] += seconds[i];
  }
  for (auto& bin : bins) std::ranges::sort(bin);
  return bins;
}

// 1, 2, 3, 4, 6, 8, 12, … and `most`.
std::vector<std::size_t> part_counts(std::size_t most) {
  std::vector<std::size_t> counts;
  for (std::size_t n = 1; n < most; n *= 2) {
    counts.push_back(n);
    if (n > 1 && n + n / 2 < most) counts.push_back(n + n / 2);
  }
  counts.push_back(most);
  return counts;
}

class Cutter {
 public:
  Cutter(std::span<const Pattern> patterns, std::span<const std::size_t> sequences, SweepCost& cost,
         std::size_t workers)
      : patterns_(patterns), sequences_(sequences), cost_(cost), workers_(workers) {
    const PatternWork one = cost.work_of(patterns.first(1));
    for (const std::size_t s : sequences) {
      seconds_.push_back(cost.of(one, std::span(&s, 1)).seconds);
    }
  }

  std::vector<CutTask> best() {
    const std::size_t most = kTasksPerWorker * workers_;
    std::vector<CutTask> best = cut(1, 1);
    double best_score = score(best);
    for (const std::size_t groups : part_counts(std::min(patterns_.size(), most))) {
      for (const std::size_t parts : part_counts(std::min(sequences_.size(), most / groups))) {
        std::vector<CutTask> tasks = cut(groups, parts);
        const double found = score(tasks);
        const double needed =
            tasks.size() > best.size() ? best_score * (1 - kLeastGain) : best_score;
        if (found >= needed) continue;
        best = std::move(tasks);
        best_score = found;
      }
    }
    return best;
  }

 private:
  std::vector<CutTask> cut(std::size_t groups, std::size_t parts) {
    std::vector<CutTask> tasks;
    const auto bins = sequence_parts(sequences_, seconds_, parts);
    for (const std::vector<std::size_t>& group : subtrees(patterns_, groups)) {
      std::vector<Pattern> some;
      for (const std::size_t p : group) some.push_back(patterns_[p]);
      const PatternWork work = cost_.work_of(some);
      for (const std::vector<std::size_t>& bin : bins) {
        tasks.push_back({group, bin, cost_.of(work, bin)});
      }
    }
    std::ranges::stable_sort(tasks, std::greater(),
                             [](const CutTask& task) { return task.estimate.seconds; });
    return tasks;
  }

  double score(const std::vector<CutTask>& tasks) const {
    return spread_seconds(tasks, workers_) + kUncertainty * tasks.front().estimate.seconds;
  }

  std::span<const Pattern> patterns_;
  std::span<const std::size_t> sequences_;
  SweepCost& cost_;
  std::size_t workers_;
  std::vector<double> seconds_;  // of every sequence, relative to each other
};

}  // namespace

std::vector<std::vector<std::size_t>> subtrees(std::span<const Pattern> patterns,
                                               std::size_t parts) {
  const std::vector<std::size_t> order = lexicographic(patterns);
  // What each pattern adds to the one before it: the layers on which they differ, and its loss.
  std::vector<std::size_t> work;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t shared =
        i == 0 ? 0 : common_prefix(patterns[order[i - 1]], patterns[order[i]]);
    work.push_back(patterns[order[i]].layers() - shared + 1);
  }
  const std::size_t all = std::accumulate(work.begin(), work.end(), std::size_t{0});
  std::vector<std::vector<std::size_t>> groups;
  std::size_t done = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    // A group begins where the middle of the pattern's work passes a share of it.
    const std::size_t place = (2 * done + work[i]) * parts / (2 * all);
    if (groups.empty() || place >= groups.size()) groups.emplace_back();
    groups.back().push_back(order[i]);
    done += work[i];
  }
  return groups;
}

double spread_seconds(std::span<const CutTask> tasks, std::size_t workers) {
  std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
  for (std::size_t w = 0; w < workers; ++w) free_at.push(0);
  double last = 0;
  for (const CutTask& task : tasks) {
    const double end = free_at.top() + task.estimate.seconds;
    free_at.pop();
    free_at.push(end);
    last = std::max(last, end);
  }
  return last;
}

std::vector<CutTask> cut_sweep(std::span<const Pattern> patterns,
                               std::span<const std::size_t> sequences, SweepCost& cost,
                               std::size_t workers) {
  if (workers > 1) return Cutter(patterns, sequences, cost, workers).best();
  std::vector<std::size_t> all(patterns.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return {{std::move(all), {sequences.begin(), sequences.end()}, {}}};
}

}  // namespace indexcache
