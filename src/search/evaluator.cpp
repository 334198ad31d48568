// SPDX-License-Identifier: Apache-2.0
#include "search/evaluator.h"

#include <numeric>
#include <utility>

namespace indexcache {

void report_part(const LossRequest& request, std::span<const std::size_t> sequences,
                 std::span<const SequenceLosses> losses) {
  if (!request.part_done) return;
  std::vector<std::size_t> patterns(request.patterns.size());
  std::iota(patterns.begin(), patterns.end(), std::size_t{0});
  request.part_done({patterns, sequences, losses});
}

Evaluator::Evaluator(std::vector<double> weights)
    : weights_(std::move(weights)), all_(weights_.size()) {
  std::iota(all_.begin(), all_.end(), std::size_t{0});
}

std::vector<SequenceLosses> Evaluator::losses(std::span<const Pattern> patterns) {
  return losses(LossRequest{patterns, all_});
}

SequenceLosses Evaluator::losses_of(const Pattern& pattern) {
  return losses(std::span(&pattern, 1)).front();
}

double Evaluator::mean(const SequenceLosses& losses) const {
  return weighted_mean(losses, weights_);
}

double weighted_mean(const SequenceLosses& losses, const std::vector<double>& weights) {
  double sum = 0;
  double count = 0;
  for (std::size_t s = 0; s < losses.size(); ++s) {
    sum += losses[s] * weights[s];
    count += weights[s];
  }
  return sum / count;
}

}  // namespace indexcache
