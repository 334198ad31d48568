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

FidelitySums& FidelitySums::operator+=(const FidelitySums& more) {
  kl.insert(kl.end(), more.kl.begin(), more.kl.end());
  kl_sum += more.kl_sum;
  same_top += more.same_top;
  for (std::size_t b = 0; b < more.buckets.size(); ++b) {
    buckets[b].tokens += more.buckets[b].tokens;
    buckets[b].reference_loss += more.buckets[b].reference_loss;
    buckets[b].loss += more.buckets[b].loss;
  }
  return *this;
}

FidelityMeter::FidelityMeter(std::size_t patterns, std::size_t sequences, std::int64_t first,
                             std::vector<std::int64_t> bucket_ends)
    : first_(first), bucket_ends_(std::move(bucket_ends)) {
  FidelitySums none;
  none.buckets.resize(bucket_ends_.size());
  sums_.assign(patterns, std::vector<FidelitySums>(sequences, none));
}

void FidelityMeter::add(std::size_t pattern, std::size_t sequence, std::int64_t position,
                        const TokenFidelity& token) {
  FidelitySums& sums = sums_[pattern][sequence];
  sums.kl.push_back(static_cast<float>(token.kl));
  sums.kl_sum += token.kl;
  sums.same_top += token.same_top ? 1 : 0;
  const auto found = std::ranges::upper_bound(bucket_ends_, position) - bucket_ends_.begin();
  FidelitySums::Bucket& bucket = sums.buckets[static_cast<std::size_t>(found)];
  ++bucket.tokens;
  bucket.reference_loss += token.reference_loss;
  bucket.loss += token.loss;
}

void FidelityMeter::set(std::size_t pattern, std::size_t sequence, FidelitySums sums) {
  sums_[pattern][sequence] = std::move(sums);
}

std::vector<std::optional<Fidelity>> FidelityMeter::results() const {
  std::vector<std::optional<Fidelity>> results;
  for (const std::vector<FidelitySums>& sequences : sums_) {
    FidelitySums all;
    all.buckets.resize(bucket_ends_.size());
    for (const FidelitySums& sums : sequences) all += sums;
    results.push_back(result(all));
  }
  return results;
}

std::optional<Fidelity> FidelityMeter::result(const FidelitySums& sums) const {
  if (sums.kl.empty()) return std::nullopt;
  const auto tokens = static_cast<double>(sums.kl.size());
  Fidelity fidelity{.tokens = static_cast<std::int64_t>(sums.kl.size()),
                    .same_top1 = static_cast<double>(sums.same_top) / tokens,
                    .kl_mean = sums.kl_sum / tokens,
                    .kl_p99 = percentile_99(sums.kl),
                    .positions = {}};
  for (std::size_t b = 0; b < bucket_ends_.size(); ++b) {
    const FidelitySums::Bucket& bucket = sums.buckets[b];
    if (bucket.tokens == 0) continue;
    const auto count = static_cast<double>(bucket.tokens);
    fidelity.positions.push_back({b == 0 ? first_ : bucket_ends_[b - 1], bucket_ends_[b],
                                  bucket.tokens, bucket.reference_loss / count,
                                  bucket.loss / count});
  }
  return fidelity;
}

}  // namespace indexcache
