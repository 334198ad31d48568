// SPDX-License-Identifier: Apache-2.0
#include "present/sharing_doubts.h"

#include "core/count_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>

namespace indexcache {
namespace {

constexpr double kWorthwhile = 1.05;  // speed-up of a prefill

// Limits of configs/ci-gate.yaml: mean and smallest overlap of a layer with its donor, and the
// largest loss increase in nats per token.
constexpr double kLeastMeanOverlap = 0.4;
constexpr double kLeastOverlap = 0.1;
constexpr double kLargestRise = 0.05;

using Doubt = std::optional<std::string>;

// Amdahl's law, with the estimated share of the indexers.
Doubt short_prefills(const Result& result, const Target& target) {
  if (!result.indexer_share) return std::nullopt;
  const auto [tokens, share] = *result.indexer_share;
  const auto kept = static_cast<double>(target.calibration.pattern.full_count());
  const auto owned = static_cast<double>(result.baseline.full_count());
  const double speed_up = 1 / (1 - share * (1 - kept / owned));
  if (speed_up >= kWorthwhile) return std::nullopt;
  return fmt::format(
      "prefills of {} tokens, the longest that were searched on, become about {:.2f} times as "
      "fast: indexers take an estimated {:.0f}% of them; longer prompts gain more",
      count_text(tokens), speed_up, 100 * share);
}

Doubt few_indexers(const Result& result) {
  const std::size_t owned = result.baseline.full_count(), layers = result.model.layers;
  if (2 * owned > layers) return std::nullopt;
  return fmt::format(
      "only {} of {} layers own an indexer: most of what sharing saves is saved already", owned,
      layers);
}

Doubt low_overlap(const Target& target) {
  if (target.donors.empty()) return std::nullopt;
  double sum = 0;
  for (const DonorOverlap& donor : target.donors) sum += donor.overlap;
  const double mean = sum / static_cast<double>(target.donors.size());
  const DonorOverlap& least = *std::ranges::min_element(target.donors, {}, &DonorOverlap::overlap);
  if (mean >= kLeastMeanOverlap && least.overlap >= kLeastOverlap) return std::nullopt;
  return fmt::format(
      "shared layers have on average {:.0f}% of their index sets in common with their donors, and "
      "layer {} {:.0f}%: that is a warning, and the loss decides",
      100 * mean, least.layer, 100 * least.overlap);
}

// Beyond the limit for sure, or within it: more sequences would not change the verdict.
Doubt undecided_rise(const Target& target) {
  if (!target.holdout || !target.holdout->delta.ci95) return std::nullopt;
  const auto [low, high] = *target.holdout->delta.ci95;
  if (low > kLargestRise || high <= kLargestRise) return std::nullopt;
  return fmt::format(
      "the 95% interval of the held-out loss increase reaches {:+.3f} nats, and "
      "configs/ci-gate.yaml allows {}: more sequences would tell whether this pattern is good "
      "enough",
      high, kLargestRise);
}

}  // namespace

std::vector<std::string> sharing_doubts(const Result& result, const Target& target) {
  std::vector<std::string> doubts;
  for (const Doubt& doubt :
       std::initializer_list<Doubt>{short_prefills(result, target), few_indexers(result),
                                    low_overlap(target), undecided_rise(target)}) {
    if (doubt) doubts.push_back(*doubt);
  }
  return doubts;
}

}  // namespace indexcache
