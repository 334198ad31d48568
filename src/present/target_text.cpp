// SPDX-License-Identifier: Apache-2.0
#include "present/target_text.h"

#include "core/count_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr double kShippedLimit = 0.05;  // max_holdout_delta of configs/ci-gate.yaml

}  // namespace

std::string loss_text(double loss) {
  return fmt::format("{:.5f}", loss);
}

std::string delta_text(double delta) {
  return fmt::format("{:+.5f}", delta);
}

std::string perplexity_text(double rise) {
  return fmt::format("{:+.1f}%", std::expm1(rise) * 100);
}

std::string tokens_text(const TokenSummary& tokens) {
  return fmt::format("{}: {} sequences, {} tokens, longest {}, SHA-256 {}", tokens.source,
                     tokens.sequences, count_text(tokens.tokens), count_text(tokens.longest),
                     tokens.sha256);
}

std::string rise_text(const Measured& measured) {
  const PairedDifference& delta = measured.delta;
  const std::string text = fmt::format("{:+.4f} nats", delta.mean);
  if (!delta.ci95) return text + " (only one sequence, so no interval)";
  return text + fmt::format(", 95% {:+.4f} to {:+.4f}", delta.ci95->first, delta.ci95->second);
}

double saved_percent(const Result& result, const Target& target) {
  const auto before = static_cast<double>(result.baseline.full_count());
  return 100 * (before - static_cast<double>(target.calibration.pattern.full_count())) / before;
}

const Measured& shown_measure(const Target& target) {
  return target.holdout ? *target.holdout : target.calibration;
}

VerdictText verdict_of(const Target& target) {
  if (!target.holdout) {
    return {false, "Not verified: the run had no held-out sequences."};
  }
  const PairedDifference& held = target.holdout->delta;
  if (!held.ci95) return {false, "Not verified: a single held-out sequence gives no interval."};
  const auto [low, high] = *held.ci95;
  std::string text;
  if (low <= 0 && high >= 0) {
    text = fmt::format(
        "On held-out data, no loss increase is distinguishable from noise (perplexity {} to {}).",
        perplexity_text(low), perplexity_text(high));
  } else {
    text = fmt::format("Held-out perplexity changes by {} (95%: {} to {}).",
                       perplexity_text(held.mean), perplexity_text(low), perplexity_text(high));
  }
  const bool small = high <= kShippedLimit;
  if (!target.uniform_holdout) return {small, text};
  if (target.uniform_holdout->pattern == target.calibration.pattern) {
    return {small, text + " This pattern is uniform interleaving."};
  }
  const double uniform = target.uniform_holdout->delta.mean;
  const bool better = held.mean < uniform;
  text += fmt::format(" Uniform interleaving of the same size: {}{}.", perplexity_text(uniform),
                      better ? "" : ", no worse than this pattern");
  return {small && better, text};
}

std::vector<IndexerCost> indexer_costs(const Result& result, const Target& target) {
  const auto heads = static_cast<double>(result.model.index_heads);
  const auto width = static_cast<double>(result.model.index_head_dim);
  const auto before = static_cast<double>(result.baseline.full_count());
  const auto after = static_cast<double>(target.calibration.pattern.full_count());
  std::vector<IndexerCost> costs;
  for (const std::int64_t context : {32768, 131072, 204800}) {
    const auto n = static_cast<double>(context);
    const double layer = 2 * heads * width * scored_pairs(result.model.indexer, 0, n) / 1e12;
    const double keys = (width + 4) * n / 1e6;
    costs.push_back({context, before * layer, after * layer, before * keys, after * keys});
  }
  return costs;
}

std::vector<SequenceDifference> worst_sequences(const Measured& measured, std::size_t count) {
  const std::vector<double>& differences = measured.delta.per_sequence;
  std::vector<SequenceDifference> order;
  for (std::size_t s = 0; s < differences.size(); ++s) order.push_back({s, differences[s]});
  std::ranges::stable_sort(order, std::greater<>(), &SequenceDifference::difference);
  order.resize(std::min(order.size(), count));
  return order;
}

std::string device_text(const Provenance& provenance) {
  if (provenance.devices.empty()) return provenance.device;
  return fmt::format("{}; {} devices, idle {:.0f}% of the time", provenance.device,
                     provenance.devices.size(), 100 * provenance.idle_share);
}

}  // namespace indexcache
