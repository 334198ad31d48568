// SPDX-License-Identifier: Apache-2.0
#include "search/sweep_cut.h"

#include "core/balanced_ranges.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace indexcache {
namespace {

// More tasks per worker do not balance better.
constexpr std::size_t kTasksPerWorker = 8;
// Estimates are wrong by about so much: the last task may take that much longer. Those of equal
// tasks are wrong by the same factor, so that none of them ends much later.
constexpr double kUncertainty = 0.1;
constexpr double kUncertaintyOfEqual = 0.01;
// A cut into more tasks has to be shorter by so much.
constexpr double kLeastGain = 0.01;

// Layers on which two patterns agree, from the first one on.
std::size_t common_prefix(const Pattern& a, const Pattern& b) {
  std::size_t layer = 0;
  while (layer < a.layers() && a.is_full(layer) == b.is_full(layer)) ++layer;
  return layer;
}

// What a stream of only this pattern costs from a layer on.
double seconds_from(const Pattern& pattern, std::size_t layer, const StreamCosts& costs) {
  double sum = costs.loss;
  for (; layer < pattern.layers(); ++layer) {
    sum += pattern.is_full(layer) ? costs.full[layer] : costs.shared[layer];
  }
  return sum;
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

// Sequences in `parts` bins of about equal work: one after another, each into the bin that has
// least. `sequences` begins with the most expensive ones, and `seconds` are theirs.
std::vector<std::vector<std::size_t>> sequence_parts(std::span<const std::size_t> sequences,
                                                     std::span<const double> seconds,
                                                     std::size_t parts) {
  std::vector<std::vector<std::size_t>> bins(parts);
  std::vector<double> filled(parts, 0.0);
  for (std::size_t i = 0; i < sequences.size(); ++i) {
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

// When the last of `workers` is done with tasks of these seconds, taken in this order.
double last_end(std::span<const double> seconds, std::size_t workers) {
  std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
  for (std::size_t w = 0; w < workers; ++w) free_at.push(0);
  double last = 0;
  for (const double task : seconds) {
    const double end = free_at.top() + task;
    free_at.pop();
    free_at.push(end);
    last = std::max(last, end);
  }
  return last;
}

}  // namespace

std::vector<std::vector<std::size_t>> subtrees(std::span<const Pattern> patterns, std::size_t parts,
                                               const StreamCosts& costs) {
  const std::vector<std::size_t> order = lexicographic(patterns);
  // What each costs as the first of a group, and after the one before it.
  std::vector<double> first, next;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Pattern& pattern = patterns[order[i]];
    first.push_back(seconds_from(pattern, 0, costs));
    next.push_back(
        i == 0 ? first[0]
               : seconds_from(pattern, common_prefix(patterns[order[i - 1]], pattern), costs));
  }
  const std::vector<std::size_t> edges =
      balanced_ranges(order.size(), parts, [&](std::size_t i, std::size_t begin) {
        return (i - begin) % costs.together == 0 ? first[i] : next[i];
      });
  std::vector<std::vector<std::size_t>> groups;
  for (std::size_t g = 0; g + 1 < edges.size(); ++g) {
    groups.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(edges[g]),
                        order.begin() + static_cast<std::ptrdiff_t>(edges[g + 1]));
  }
  return groups;
}

SweepCutter::SweepCutter(std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                         SweepCost& cost)
    : patterns_(patterns), request_(sequences), cost_(cost) {
  const PatternWork one = cost.work_of(patterns.first(1));
  std::vector<std::pair<double, std::size_t>> order;
  for (const std::size_t s : sequences) {
    order.emplace_back(cost.of(one, std::span(&s, 1)).seconds, s);
  }
  std::ranges::stable_sort(order, std::greater(), [](const auto& pair) { return pair.first; });
  for (const auto& [seconds, sequence] : order) {
    seconds_.push_back(seconds);
    sequences_.push_back(sequence);
  }
}

const std::vector<SweepCutter::Group>& SweepCutter::divide(std::size_t groups) {
  const auto [found, is_new] = groups_.try_emplace(groups);
  if (!is_new) return found->second;
  for (std::vector<std::size_t>& group :
       subtrees(patterns_, groups, cost_.streams(patterns_.size(), sequences_.front()))) {
    std::vector<Pattern> some;
    for (const std::size_t p : group) some.push_back(patterns_[p]);
    found->second.push_back({std::move(group), cost_.work_of(some)});
  }
  return found->second;
}

SweepCutter::Sides SweepCutter::sides(const Choice& choice) const {
  const std::span<const std::size_t> all = sequences_;
  const std::size_t whole = all.size() - choice.divided;
  if (choice.cheapest) return {all.first(whole), all.subspan(whole)};
  return {all.subspan(choice.divided), all.first(choice.divided)};
}

template <typename Visit>
void SweepCutter::for_tasks(const Choice& choice, const Visit& visit) {
  const auto parts_of = [&](std::span<const std::size_t> some, std::size_t parts) {
    const auto first = static_cast<std::size_t>(some.data() - sequences_.data());
    return sequence_parts(some, std::span(seconds_).subspan(first, some.size()), parts);
  };
  const Sides side = sides(choice);
  if (choice.bins > 0) {
    for (const auto& bin : parts_of(side.dealt, choice.bins)) visit(divide(1).front(), bin);
  }
  const auto bins = parts_of(side.divided, choice.parts);
  for (const Group& group : divide(choice.groups)) {
    for (const auto& bin : bins) visit(group, bin);
  }
}

std::size_t SweepCutter::tasks_of(const Choice& choice) {
  return choice.bins + divide(choice.groups).size() * choice.parts;
}

// No more than score(), without looking at every task.
double SweepCutter::least_score(const Choice& choice, std::size_t workers) {
  const Sides side = sides(choice);
  double all = 0, longest = 0;
  const auto add = [&](double seconds, std::size_t tasks) {
    all += seconds;
    longest = std::max(longest, seconds / static_cast<double>(tasks));
  };
  if (choice.bins > 0) add(cost_.computing(divide(1).front().work, side.dealt), choice.bins);
  double divided = 0;
  const std::vector<Group>& groups = divide(choice.groups);
  for (const Group& group : groups) divided += cost_.computing(group.work, side.divided);
  add(divided, groups.size() * choice.parts);
  const double end = std::max(all / static_cast<double>(workers), longest);
  constexpr double kRounding = 1 - 1e-9;
  return (end + kUncertaintyOfEqual * longest) * kRounding;
}

double SweepCutter::score(const Choice& choice, std::size_t workers) {
  const std::size_t busy = std::min(workers, tasks_of(choice));
  std::vector<double> seconds;
  for_tasks(choice, [&](const Group& group, std::span<const std::size_t> bin) {
    seconds.push_back(cost_.of(group.work, bin, busy).seconds);
  });
  std::ranges::sort(seconds, std::greater());
  const bool equal = seconds.front() - seconds.back() < 1e-6 * seconds.front();
  return last_end(seconds, workers) +
         (equal ? kUncertaintyOfEqual : kUncertainty) * seconds.front();
}

void SweepCutter::consider(const Choice& choice, std::size_t workers, Best& best) {
  const std::size_t tasks = tasks_of(choice);
  const double needed = tasks > best.tasks ? best.score * (1 - kLeastGain) : best.score;
  if (least_score(choice, workers) >= needed) return;
  const double found = score(choice, workers);
  if (found < needed) best = {choice, tasks, found};
}

// So many sequences are divided, and the others dealt whole.
void SweepCutter::consider_dealing(std::size_t divided, std::size_t workers, Best& best) {
  const std::size_t most = kTasksPerWorker * workers, whole = sequences_.size() - divided;
  const bool equal = seconds_.front() == seconds_.back();
  for (const std::size_t groups : part_counts(std::min(patterns_.size(), most))) {
    if (groups == 1) continue;  // then all are dealt whole
    for (const std::size_t parts : part_counts(std::min(divided, most / groups))) {
      for (std::size_t bins = std::min(workers, whole); bins <= std::min(whole, most); bins *= 2) {
        consider({divided, true, bins, groups, parts}, workers, best);
        if (!equal) consider({divided, false, bins, groups, parts}, workers, best);
      }
    }
  }
}

std::vector<CutTask> SweepCutter::cut(std::size_t workers) {
  if (workers == 1) {
    std::vector<std::size_t> all(patterns_.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    return {{std::move(all),
             {request_.begin(), request_.end()},
             cost_.of(cost_.work_of(patterns_), request_)}};
  }
  const std::size_t most = kTasksPerWorker * workers, count = sequences_.size();
  const Choice whole{count, true, 0, 1, 1};
  Best best{whole, 1, score(whole, workers)};
  for (const std::size_t groups : part_counts(std::min(patterns_.size(), most))) {
    for (const std::size_t parts : part_counts(std::min(count, most / groups))) {
      consider({count, true, 0, groups, parts}, workers, best);
    }
  }
  if (count > 1) {
    std::vector<std::size_t> numbers = part_counts(std::min(count - 1, 2 * workers));
    if (count % workers != 0) numbers.push_back(count % workers);
    for (const std::size_t divided : numbers) {
      if (divided < count) consider_dealing(divided, workers, best);
    }
  }
  const std::size_t busy = std::min(workers, tasks_of(best.choice));
  std::vector<CutTask> tasks;
  for_tasks(best.choice, [&](const Group& group, std::span<const std::size_t> bin) {
    tasks.push_back({group.patterns, {bin.begin(), bin.end()}, cost_.of(group.work, bin, busy)});
  });
  std::ranges::stable_sort(tasks, std::greater(),
                           [](const CutTask& task) { return task.estimate.seconds; });
  return tasks;
}

double spread_seconds(std::span<const CutTask> tasks, std::size_t workers) {
  std::vector<double> seconds;
  for (const CutTask& task : tasks) seconds.push_back(task.estimate.seconds);
  return last_end(seconds, workers);
}

}  // namespace indexcache
