// SPDX-License-Identifier: Apache-2.0
#include "search/fidelity.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace indexcache {
namespace {

// The nearest rank: of n values, number ceil(0.99 n) in ascending order.
double percentile_99(std::vector<float> values) {
  const auto rank = static_cast<std::ptrdiff_t>((99 * values.size() + 99) / 100 - 1);
  std::ranges::nth_element(values, values.begin() + rank);
  return values[static_cast<std::size_t>(rank)];
}

}  // namespace

FidelityMeter::FidelityMeter(std::size_t patterns, std::int64_t first,
                             std::vector<std::int64_t> bucket_ends)
    : first_(first), bucket_ends_(std::move(bucket_ends)), patterns_(patterns) {
  for (Collected& collected : patterns_) collected.buckets.resize(bucket_ends_.size());
}

void FidelityMeter::add(std::size_t pattern, std::int64_t position, double reference_loss,
                        double loss, double kl, bool same_top) {
  Collected& collected = patterns_[pattern];
  collected.kl.push_back(static_cast<float>(kl));
  collected.kl_sum += kl;
  collected.same_top += same_top ? 1 : 0;
  const auto bucket = std::ranges::upper_bound(bucket_ends_, position) - bucket_ends_.begin();
  Sums& sums = collected.buckets[static_cast<std::size_t>(bucket)];
  ++sums.tokens;
  sums.reference_loss += reference_loss;
  sums.loss += loss;
}

std::vector<std::optional<Fidelity>> FidelityMeter::results() const {
  std::vector<std::optional<Fidelity>> results;
  for (const Collected& collected : patterns_) results.push_back(result(collected));
  return results;
}

std::optional<Fidelity> FidelityMeter::result(const Collected& collected) const {
  if (collected.kl.empty()) return std::nullopt;
  const auto tokens = static_cast<double>(collected.kl.size());
  Fidelity fidelity{.tokens = static_cast<std::int64_t>(collected.kl.size()),
                    .same_top1 = static_cast<double>(collected.same_top) / tokens,
                    .kl_mean = collected.kl_sum / tokens,
                    .kl_p99 = percentile_99(collected.kl),
                    .positions = {}};
  for (std::size_t b = 0; b < bucket_ends_.size(); ++b) {
    const Sums& sums = collected.buckets[b];
    if (sums.tokens == 0) continue;
    const auto count = static_cast<double>(sums.tokens);
    fidelity.positions.push_back({b == 0 ? first_ : bucket_ends_[b - 1], bucket_ends_[b],
                                  sums.tokens, sums.reference_loss / count, sums.loss / count});
  }
  return fidelity;
}

}  // namespace indexcache
