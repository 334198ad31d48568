// SPDX-License-Identifier: Apache-2.0
// What a search says about the model: how the loss increases as indexers are removed, where that
// curve bends, and what each layer costs. For paths of any strategy, nested or not.
#pragma once

#include "result/result.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// Loss minus the baseline's, in nats per token, of a pattern with that many indexers fewer.
struct CurvePoint {
  std::size_t removed;
  double rise;
};

// The loss of a pattern on all calibration sequences, if the baseline or a search measured it.
std::optional<double> measured_loss(const Result& result, const Pattern& pattern);

// The start, if its loss is known, and every step of the path.
std::vector<CurvePoint> search_curve(const Result& result, const SearchPath& search);

// Index of the point where the curve bends: the farthest below the chord of its ends. nullopt for
// fewer than four points and for a curve that does not remove more from point to point.
std::optional<std::size_t> knee(const std::vector<CurvePoint>& curve);

struct LayerCost {
  std::size_t layer;
  double rise;
};

// Loss increase when one more layer is shared: of the segments of two layers if they were measured,
// or else of the first step of a search that compared several layers. Empty if there is none.
std::vector<LayerCost> sensitivity(const Result& result);

// A step of a search and what it was a step from.
struct StepChange {
  const SearchPath* search;
  const PathStep* step;
  const Pattern* before;
  double loss_before;  // the baseline's if that of `before` is not known
};

// All steps of all searches, in their order.
std::vector<StepChange> step_changes(const Result& result);

// "12", or "12 for 30" if layer 30 runs its indexer again: what `after` shares and restores. The
// number of layers if they are many.
std::string change_text(const Pattern& before, const Pattern& after,
                        const LayerNumbers& numbers = {});

// The first search of which every step shares one more layer; null if there is none.
const SearchPath* one_by_one(const Result& result);

// What the search made small, as an increase over the baseline: "loss increase", "KL divergence" or
// "loss increase beyond index_topk".
std::string value_text(const Result& result);

// What races spared, in evaluations of a pattern on all sequences, of the patterns that raced.
// nullopt without races.
struct RaceSavings {
  double saved;
  std::size_t all;
};
std::optional<RaceSavings> race_savings(const Result& result);
// "races saved 55.1 of 130 evaluations (confidence 0.95)"; empty without races.
std::string race_text(const Result& result);

// "greedy", or "greedy, swap".
std::string methods_text(const Result& result);

// Spearman's rank correlation, ties at their mean rank; nullopt for fewer than three points or if
// one side does not vary.
std::optional<double> rank_correlation(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace indexcache
