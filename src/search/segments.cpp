// SPDX-License-Identifier: Apache-2.0
#include "search/segments.h"

#include "search/paired.h"
#include "search/segment_paths.h"
#include "search/segment_race.h"

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

void record(SegmentTable& table, const PatternSegment& segment, const Considered& measured,
            double start_loss) {
  const double cost = measured.loss - start_loss;
  if (measured.complete()) {
    table.set(segment, cost);
  } else {
    table.estimate(segment, cost);
  }
}

class SegmentSearch {
 public:
  SegmentSearch(Evaluator& evaluator, const SearchSpace& space)
      : evaluator_(evaluator),
        space_(space),
        start_losses_(evaluator.losses_of(space.start)),
        start_loss_(evaluator.mean(start_losses_)),
        table_(space.start) {}

  void run(const SearchSink& sink) {
    std::vector<PatternSegment> next = short_segments();
    while (!next.empty()) {
      measure(next);
      next = next_segments();
    }
    sink.measured(std::move(measured_));
    take_best(sink);
  }

 private:
  // Longer by two than the longest of a uniform pattern of the smallest target.
  std::size_t short_length() const {
    const std::size_t layers = space_.start.layers(), full = space_.targets.back();
    return (layers + full - 1) / full + 2;
  }

  std::vector<PatternSegment> short_segments() const {
    std::vector<PatternSegment> segments;
    for (std::size_t first = 0; first < space_.start.layers(); ++first) {
      for (const std::size_t end : table_.ends(first)) {
        if (end - first > short_length()) break;
        if (!table_.cost({first, end})) segments.push_back({first, end});
      }
    }
    return segments;
  }

  // Of every row that still matters to a target, the next few segments: up to the longest that
  // matters, but not all at once, because the costs of a row often jump.
  std::vector<PatternSegment> next_segments() const {
    std::vector<std::size_t> wanted(space_.start.layers(), 0);  // by row: up to this end
    for (const std::size_t target : space_.targets) {
      for (const PatternSegment& open : open_segments(table_, space_.constraints, target)) {
        wanted[open.first] = std::max(wanted[open.first], open.end);
      }
    }
    std::vector<PatternSegment> segments;
    for (std::size_t first = 0; first < wanted.size(); ++first) {
      std::size_t left = (short_length() + 1) / 2;
      for (const std::size_t end : table_.ends(first)) {
        if (end > wanted[first] || left == 0) break;
        if (table_.cost({first, end})) continue;
        segments.push_back({first, end});
        --left;
      }
    }
    return segments;
  }

  void measure(const std::vector<PatternSegment>& segments) {
    std::vector<Pattern> patterns;
    for (const PatternSegment& segment : segments) patterns.push_back(table_.pattern(segment));
    const auto losses = race(evaluator_, space_.races, patterns,
                             [&](const RaceRound& round) { return matter(segments, round); });
    for (std::size_t i = 0; i < segments.size(); ++i) {
      measured_.push_back(raced(evaluator_, patterns[i], losses[i], start_losses_));
      record(table_, segments[i], measured_.back(), start_loss_);
      increases_[segments[i]] = differences(losses[i], start_losses_);
    }
  }

  // Which of the racing segments may still be part of the cheapest pattern of a target: with the
  // constraints, or without them, for the price of the constraints.
  std::vector<bool> matter(const std::vector<PatternSegment>& segments, const RaceRound& round) {
    SegmentTable table = table_;
    for (std::size_t i = 0; i < segments.size(); ++i) {
      // Those that left keep what is known of them.
      const auto so_far = raced(evaluator_, space_.start, round.losses[i], start_losses_);
      table.estimate(segments[i], so_far.loss - start_loss_);
      increases_[segments[i]] = differences(round.losses[i], start_losses_);
    }
    std::vector<bool> matters(segments.size(), false);
    const Constraints none = Constraints::none(space_.start.layers());
    for (const Constraints* constraints : {&space_.constraints, &none}) {
      if (constraints == &none && space_.constraints == none) continue;
      for (const std::size_t target : space_.targets) {
        const SegmentRace race(table, *constraints, target, increases_, evaluator_.weights());
        for (std::size_t i = 0; i < segments.size(); ++i) {
          if (!matters[i] && round.racing[i]) matters[i] = race.may_win(segments[i], round.level);
        }
      }
    }
    return matters;
  }

  // Measures the patterns of all targets in one request.
  void take_best(const SearchSink& sink) {
    const SegmentPaths cheapest(table_, space_.constraints, kMeasuredPaths);
    std::vector<Pattern> patterns;
    std::vector<std::size_t> counts;
    for (const std::size_t target : space_.targets) {
      counts.push_back(cheapest.of(target).size());
      for (const SegmentPath& path : cheapest.of(target)) {
        patterns.push_back(path.pattern(space_.start.layers()));
      }
    }
    const std::vector<SequenceLosses> losses = evaluator_.losses(patterns);
    std::size_t begin = 0;
    for (const std::size_t count : counts) {
      sink.step(best_of(evaluator_, std::span(patterns).subspan(begin, count),
                        std::span(losses).subspan(begin, count)));
      begin += count;
    }
  }

  Evaluator& evaluator_;
  const SearchSpace& space_;
  SequenceLosses start_losses_;
  double start_loss_;
  SegmentTable table_;
  SegmentIncreases increases_;  // of those that were measured
  std::vector<Considered> measured_;
};

}  // namespace

void segments_search(Evaluator& evaluator, const SearchSpace& space, const SearchSink& sink) {
  SegmentSearch(evaluator, space).run(sink);
}

SegmentTable segment_table(const Pattern& start, double start_loss,
                           const std::vector<Considered>& measured) {
  SegmentTable table(start);
  for (const Considered& considered : measured) {
    if (const auto segment = table.only_segment(considered.pattern)) {
      record(table, *segment, considered, start_loss);
    }
  }
  return table;
}

}  // namespace indexcache
