// SPDX-License-Identifier: Apache-2.0
// Losses from a table: strategies are tested in milliseconds, without a model.
#pragma once

#include "search/evaluator.h"

#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace indexcache::test {

class TableEvaluator : public Evaluator {
 public:
  using Loss = std::function<double(const Pattern& pattern, std::size_t sequence)>;

  TableEvaluator(std::vector<double> weights, Loss loss)
      : Evaluator(std::move(weights)), loss_(std::move(loss)) {}

  using Evaluator::losses;
  std::vector<SequenceLosses> losses(const LossRequest& request) override {
    std::vector<SequenceLosses> result(request.patterns.size());
    for (std::size_t p = 0; p < request.patterns.size(); ++p) {
      asked.push_back(request.patterns[p]);
      for (const std::size_t s : request.sequences) {
        result[p].push_back(loss_(request.patterns[p], s));
      }
    }
    // In two parts where there is more than one sequence, as waves would come.
    const std::size_t half = (request.sequences.size() + 1) / 2;
    if (request.part_done) {
      part(request, result, 0, half);
      if (half < request.sequences.size()) part(request, result, half, request.sequences.size());
    }
    return result;
  }

  std::vector<Pattern> asked;  // every pattern of every request

 private:
  static void part(const LossRequest& request, const std::vector<SequenceLosses>& all,
                   std::size_t begin, std::size_t end) {
    std::vector<SequenceLosses> losses;
    for (const SequenceLosses& row : all) {
      losses.emplace_back(row.begin() + static_cast<std::ptrdiff_t>(begin),
                          row.begin() + static_cast<std::ptrdiff_t>(end));
    }
    report_part(request, request.sequences.subspan(begin, end - begin), losses);
  }

  Loss loss_;
};

}  // namespace indexcache::test
