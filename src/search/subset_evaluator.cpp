// SPDX-License-Identifier: Apache-2.0
#include "search/subset_evaluator.h"

#include <utility>

namespace indexcache {
namespace {

std::vector<double> weights_of(const Evaluator& evaluator,
                               const std::vector<std::size_t>& sequences) {
  std::vector<double> weights;
  for (const std::size_t sequence : sequences) weights.push_back(evaluator.weights()[sequence]);
  return weights;
}

}  // namespace

SubsetEvaluator::SubsetEvaluator(Evaluator& inner, std::vector<std::size_t> sequences)
    : Evaluator(weights_of(inner, sequences)), inner_(inner), sequences_(std::move(sequences)) {}

std::vector<SequenceLosses> SubsetEvaluator::losses(const LossRequest& request) {
  std::vector<std::size_t> asked;
  for (const std::size_t sequence : request.sequences) asked.push_back(sequences_[sequence]);
  std::vector<SequenceLosses> result = inner_.losses(LossRequest{request.patterns, asked});
  report_part(request, request.sequences, result);
  return result;
}

}  // namespace indexcache
