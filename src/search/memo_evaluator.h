// SPDX-License-Identifier: Apache-2.0
// Measures no loss twice: what a table holds is answered from it, the rest is asked of another
// evaluator and goes into the table, and to a recorder (the journal of a run).
#pragma once

#include "search/evaluator.h"
#include "search/loss_table.h"

namespace indexcache {

class MemoEvaluator : public Evaluator {
 public:
  // Receives losses, [patterns][sequences], as soon as they are measured, and the seconds that
  // this took. May be empty.
  using Recorder =
      std::function<void(std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                         std::span<const SequenceLosses> losses, double seconds)>;

  // The references must outlive the evaluator; `known` is of the same token set as `inner`.
  MemoEvaluator(Evaluator& inner, LossTable& known, Recorder recorder = {});

  using Evaluator::losses;
  std::vector<SequenceLosses> losses(const LossRequest& request) override;

 private:
  void measure(std::span<const Pattern> patterns, std::span<const std::size_t> sequences);

  Evaluator& inner_;
  LossTable& known_;
  Recorder recorder_;
};

}  // namespace indexcache
