// SPDX-License-Identifier: Apache-2.0
// Losses on some of the sequences only.
#pragma once

#include "search/evaluator.h"

#include <cstddef>
#include <vector>

namespace indexcache {

class SubsetEvaluator : public Evaluator {
 public:
  // Sequence i is sequences[i] (ascending) of `inner`, which must outlive it.
  SubsetEvaluator(Evaluator& inner, std::vector<std::size_t> sequences);

  using Evaluator::losses;
  std::vector<SequenceLosses> losses(const LossRequest& request) override;

 private:
  Evaluator& inner_;
  std::vector<std::size_t> sequences_;
};

}  // namespace indexcache
