// SPDX-License-Identifier: Apache-2.0
#include "present/search_curve.h"

#include "search/strategy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace indexcache {
namespace {

std::size_t removed_indexers(const Result& result, const Pattern& pattern) {
  const std::size_t before = result.baseline.full_count();
  return before - std::min(before, pattern.full_count());
}

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](std::size_t i) { return values[i]; });
  std::vector<double> rank(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double mean = static_cast<double>(begin + end - 1) / 2;
    for (std::size_t i = begin; i < end; ++i) rank[order[i]] = mean;
    begin = end;
  }
  return rank;
}

// Patterns that share exactly one layer more than `before`.
std::vector<LayerCost> single_layers(const Result& result, const Pattern& before,
                                     const std::vector<Considered>& patterns) {
  std::vector<LayerCost> costs;
  for (const Considered& considered : patterns) {
    const auto shared = newly_shared(before, considered.pattern);
    if (shared.size() != 1 || !newly_shared(considered.pattern, before).empty()) continue;
    costs.push_back({shared[0], considered.loss - result.search_start});
  }
  return costs;
}

}  // namespace

std::optional<double> measured_loss(const Result& result, const Pattern& pattern) {
  if (pattern == result.baseline) return result.search_start;
  std::optional<double> loss;
  for (const SearchPath& search : result.searches) {
    for_each_considered(search, [&](const Considered& considered) {
      if (!loss && considered.pattern == pattern && considered.complete()) loss = considered.loss;
    });
    for (const PathStep& step : search.steps) {
      if (!loss && step.pattern == pattern) loss = step.loss;
    }
  }
  return loss;
}

std::string value_text(const Result& result) {
  switch (result.settings.objective) {
    case Objective::kl:
      return "KL divergence";
    case Objective::tail:
      return "loss increase beyond index_topk";
    case Objective::loss:
      break;
  }
  return "loss increase";
}

std::optional<RaceSavings> race_savings(const Result& result) {
  if (!result.settings.race_confidence) return std::nullopt;
  // By pattern: how many sequences it was measured on at most. What is known is not measured again.
  std::map<Pattern, std::size_t> measured;
  for (const SearchPath& search : result.searches) {
    if (!result.settings.race_all && !races_by_default(search.method)) continue;
    for_each_considered(search, [&](const Considered& considered) {
      std::size_t& most = measured[considered.pattern];
      most = std::max(most, considered.losses.size());
    });
  }
  if (measured.empty()) return std::nullopt;
  const auto sequences = static_cast<double>(result.calibration.sequences);
  RaceSavings savings{0, measured.size()};
  for (const auto& [pattern, count] : measured) {
    savings.saved += 1 - static_cast<double>(count) / sequences;
  }
  return savings;
}

std::string race_text(const Result& result) {
  const auto savings = race_savings(result);
  if (!savings) return "";
  return fmt::format("races saved {:.1f} of {} evaluations (confidence {})", savings->saved,
                     savings->all, *result.settings.race_confidence);
}

std::vector<CurvePoint> search_curve(const Result& result, const SearchPath& search) {
  std::vector<CurvePoint> points;
  const auto add = [&](const Pattern& pattern, double loss) {
    points.push_back({removed_indexers(result, pattern), loss - result.search_start});
  };
  if (const auto loss = measured_loss(result, search.start)) add(search.start, *loss);
  for (const PathStep& step : search.steps) add(step.pattern, step.loss);
  return points;
}

std::optional<std::size_t> knee(const std::vector<CurvePoint>& curve) {
  if (curve.size() < 4) return std::nullopt;
  for (std::size_t i = 1; i < curve.size(); ++i) {
    if (curve[i].removed <= curve[i - 1].removed) return std::nullopt;
  }
  const CurvePoint& first = curve.front();
  const CurvePoint& last = curve.back();
  const auto width = static_cast<double>(last.removed - first.removed);
  std::optional<std::size_t> farthest;
  double most = 0;
  for (std::size_t i = 0; i < curve.size(); ++i) {
    const double along = static_cast<double>(curve[i].removed - first.removed) / width;
    const double chord = first.rise + (last.rise - first.rise) * along;
    if (chord - curve[i].rise > most) {
      most = chord - curve[i].rise;
      farthest = i;
    }
  }
  return farthest;
}

std::vector<LayerCost> sensitivity(const Result& result) {
  for (const SearchPath& search : result.searches) {
    auto costs = single_layers(result, search.start, search.measured);
    if (costs.size() > 1) return costs;
  }
  for (const StepChange& change : step_changes(result)) {
    auto costs = single_layers(result, *change.before, change.step->considered);
    if (costs.size() > 1) return costs;
  }
  return {};
}

std::vector<StepChange> step_changes(const Result& result) {
  std::vector<StepChange> changes;
  for (const SearchPath& search : result.searches) {
    const Pattern* before = &search.start;
    double loss = measured_loss(result, search.start).value_or(result.search_start);
    for (const PathStep& step : search.steps) {
      changes.push_back({&search, &step, before, loss});
      before = &step.pattern;
      loss = step.loss;
    }
  }
  return changes;
}

std::string change_text(const Pattern& before, const Pattern& after, const LayerNumbers& numbers) {
  const auto shared = newly_shared(before, after);
  const auto restored = newly_shared(after, before);
  if (shared.size() > 3) return fmt::format("{} layers", shared.size());
  std::string text = fmt::format("{}", fmt::join(numbers.of(shared), ", "));
  if (!restored.empty()) text += fmt::format(" for {}", fmt::join(numbers.of(restored), ", "));
  return text;
}

const SearchPath* one_by_one(const Result& result) {
  for (const SearchPath& search : result.searches) {
    const Pattern* before = &search.start;
    bool holds = !search.steps.empty();
    for (const PathStep& step : search.steps) {
      holds = holds && newly_shared(step.pattern, *before).empty() &&
              newly_shared(*before, step.pattern).size() == 1;
      before = &step.pattern;
    }
    if (holds) return &search;
  }
  return nullptr;
}

std::string methods_text(const Result& result) {
  std::vector<std::string> methods;
  for (const SearchPath& search : result.searches) {
    if (std::ranges::find(methods, search.method) == methods.end()) {
      methods.push_back(search.method);
    }
  }
  return fmt::format("{}", fmt::join(methods, ", "));
}

std::optional<double> rank_correlation(const std::vector<double>& x, const std::vector<double>& y) {
  if (x.size() < 3 || x.size() != y.size()) return std::nullopt;
  const std::vector<double> a = ranks(x);
  const std::vector<double> b = ranks(y);
  const double mean = static_cast<double>(x.size() - 1) / 2;
  double both = 0;
  double left = 0;
  double right = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    both += (a[i] - mean) * (b[i] - mean);
    left += (a[i] - mean) * (a[i] - mean);
    right += (b[i] - mean) * (b[i] - mean);
  }
  if (left == 0 || right == 0) return std::nullopt;
  return both / std::sqrt(left * right);
}

}  // namespace indexcache
