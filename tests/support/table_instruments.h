// SPDX-License-Identifier: Apache-2.0
// A run on the losses of all patterns of dsa-mini: everything but the forward pass.
#pragma once

#include "run/instruments.h"
#include "search/memo_evaluator.h"
#include "support/pattern_table.h"
#include "support/segment_run.h"
#include "support/table_evaluator.h"

#include <cstddef>
#include <functional>
#include <optional>
#include <utility>

namespace indexcache::test {

class TableInstruments : public Instruments {
 public:
  // Held-out losses are those of the table, as `held_out` changes them.
  explicit TableInstruments(std::function<double(const Pattern&, double)> held_out = {})
      : sequences_(all_losses().sequences()),
        search_(weights(), loss),
        verification_(weights(), loss),
        holdout_(weights(),
                 [held_out](const Pattern& pattern, std::size_t s) {
                   const double loss = all_losses().loss(pattern, s);
                   return held_out ? held_out(pattern, loss) : loss;
                 }),
        known_(sequences_),
        limited_(search_),
        remembering_(limited_, known_) {}

  OverlapPass measure_baseline(const Pattern& baseline) override {
    OverlapPass pass;
    pass.losses = verification_.losses_of(baseline);
    known_.add(baseline, verification_.all_sequences(), pass.losses);
    pass.overlap.layers = baseline.layers();
    return pass;
  }
  Evaluator& search() override { return remembering_; }
  Evaluator& verification() override { return verification_; }
  Evaluator& next_token_losses() override { return remembering_; }
  FidelityPass measure_fidelity(DataSide side, std::span<const Pattern> patterns) override {
    Evaluator& evaluator = side == DataSide::search ? verification_ : holdout_;
    return {evaluator.losses(patterns), std::vector<std::optional<Fidelity>>(patterns.size()),
            evaluator.weights()};
  }
  bool measures() const override { return true; }

  // The budget is spent after so many requests that measure something.
  void limit_requests(std::size_t requests) { limited_.left = requests; }
  std::size_t requests() const { return limited_.asked; }

 private:
  // Stands for BudgetEvaluator.
  struct Limited : Evaluator {
    explicit Limited(Evaluator& of) : Evaluator(of.weights()), inner(of) {}
    using Evaluator::losses;
    std::vector<SequenceLosses> losses(const LossRequest& request) override {
      if (left && asked >= *left) throw BudgetSpent();
      ++asked;
      return inner.losses(request);
    }
    Evaluator& inner;
    std::optional<std::size_t> left;
    std::size_t asked = 0;
  };

  std::vector<double> weights() const { return std::vector<double>(sequences_, 2047); }
  static double loss(const Pattern& pattern, std::size_t sequence) {
    return all_losses().loss(pattern, sequence);
  }

  std::size_t sequences_;
  TableEvaluator search_;
  TableEvaluator verification_;
  TableEvaluator holdout_;
  LossTable known_;
  Limited limited_;
  MemoEvaluator remembering_;
};

}  // namespace indexcache::test
