// SPDX-License-Identifier: Apache-2.0
#include "search/memo_evaluator.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace indexcache {
namespace {

// Patterns that lack the losses of the same sequences: one request.
struct Gap {
  std::vector<std::size_t> sequences;
  std::vector<Pattern> patterns;
};

std::vector<Gap> gaps_of(const LossTable& known, const LossRequest& request) {
  std::vector<Gap> gaps;
  for (const Pattern& pattern : request.patterns) {
    std::vector<std::size_t> missing = known.missing(pattern, request.sequences);
    if (missing.empty()) continue;
    auto gap = std::ranges::find(gaps, missing, &Gap::sequences);
    if (gap == gaps.end()) gap = gaps.insert(gaps.end(), Gap{std::move(missing), {}});
    if (std::ranges::find(gap->patterns, pattern) == gap->patterns.end()) {
      gap->patterns.push_back(pattern);
    }
  }
  return gaps;
}

}  // namespace

MemoEvaluator::MemoEvaluator(Evaluator& inner, LossTable& known, Recorder recorder)
    : Evaluator(inner.weights()), inner_(inner), known_(known), recorder_(std::move(recorder)) {}

std::vector<SequenceLosses> MemoEvaluator::losses(const LossRequest& request) {
  for (const Gap& gap : gaps_of(known_, request)) measure(gap.patterns, gap.sequences);
  std::vector<SequenceLosses> result;
  for (const Pattern& pattern : request.patterns) {
    result.push_back(known_.of(pattern, request.sequences));
  }
  report_part(request, request.sequences, result);
  return result;
}

void MemoEvaluator::measure(std::span<const Pattern> patterns,
                            std::span<const std::size_t> sequences) {
  using Clock = std::chrono::steady_clock;
  auto began = Clock::now();
  const auto part_done = [&](const LossPart& part) {
    const auto now = Clock::now();
    const std::chrono::duration<double> seconds = now - std::exchange(began, now);
    std::vector<Pattern> measured;
    for (const std::size_t p : part.patterns) measured.push_back(patterns[p]);
    // On disk first: what a strategy sees is never lost.
    if (recorder_) recorder_(measured, part.sequences, part.losses, seconds.count());
    for (std::size_t p = 0; p < measured.size(); ++p) {
      known_.add(measured[p], part.sequences, part.losses[p]);
    }
  };
  inner_.losses({patterns, sequences, part_done});
}

}  // namespace indexcache
