// SPDX-License-Identifier: Apache-2.0
#include "present/summary_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr double kShippedLimit = 0.05;  // max_holdout_delta of configs/ci-gate.yaml

}  // namespace

std::string perplexity_text(double rise) {
  return fmt::format("{:+.1f} %", std::expm1(rise) * 100);
}

std::string rise_text(const Rise& rise) {
  std::string text = fmt::format("{:+.4f} nats", rise.mean);
  if (!rise.low) return text + " (one sequence, no interval)";
  return text + fmt::format(", 95 % {:+.4f} to {:+.4f}", *rise.low, *rise.high);
}

double saved_percent(const RunView& view, const TargetView& target) {
  const auto before = static_cast<double>(view.baseline.full_count());
  return 100 * (before - static_cast<double>(target.pattern.full_count())) / before;
}

VerdictText verdict_of(const RunView&, const TargetView& target) {
  if (!target.holdout) {
    return {false, "Not verified: the run had no held-out sequences."};
  }
  const Rise& held = *target.holdout;
  if (!held.low) return {false, "Not verified: one held-out sequence gives no interval."};
  std::string text;
  if (*held.low <= 0 && *held.high >= 0) {
    text = fmt::format("On held-out data no rise can be told from noise (perplexity {} to {}).",
                       perplexity_text(*held.low), perplexity_text(*held.high));
  } else {
    text = fmt::format("Held-out perplexity changes by {} (95 %: {} to {}).",
                       perplexity_text(held.mean), perplexity_text(*held.low),
                       perplexity_text(*held.high));
  }
  const bool small = *held.high <= kShippedLimit;
  if (!target.uniform) return {small, text};
  const bool better = held.mean < target.uniform->mean;
  text += fmt::format(" Uniform interleaving of the same size: {}{}.",
                      perplexity_text(target.uniform->mean),
                      better ? "" : ", no worse than this pattern");
  return {small && better, text};
}

std::vector<IndexerCost> indexer_costs(const RunView& view, const TargetView& target) {
  const auto heads = view.model.at("index_heads").get<double>();
  const auto width = view.model.at("index_head_dim").get<double>();
  const auto before = static_cast<double>(view.baseline.full_count());
  const auto after = static_cast<double>(target.pattern.full_count());
  std::vector<IndexerCost> costs;
  for (const std::int64_t context : {32768, 131072, 204800}) {
    const auto n = static_cast<double>(context);
    const double layer = heads * width * n * n / 1e12;
    const double keys = (width + 4) * n / 1e6;
    costs.push_back({context, before * layer, after * layer, before * keys, after * keys});
  }
  return costs;
}

std::vector<std::pair<std::size_t, double>> worst_sequences(const Rise& rise, std::size_t count) {
  std::vector<std::pair<std::size_t, double>> order;
  for (std::size_t s = 0; s < rise.sequences.size(); ++s) order.emplace_back(s, rise.sequences[s]);
  std::ranges::stable_sort(order, std::greater<>(), &std::pair<std::size_t, double>::second);
  order.resize(std::min(order.size(), count));
  return order;
}

}  // namespace indexcache
