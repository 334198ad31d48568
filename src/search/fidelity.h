// SPDX-License-Identifier: Apache-2.0
// How far a pattern's predictions are from those of the model that runs every indexer: what a mean
// loss does not show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace indexcache {

// Losses of positions begin, …, end - 1.
struct PositionLosses {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t tokens;    // predicted there
  double reference_loss;  // mean, nats per token
  double loss;

  bool operator==(const PositionLosses&) const = default;
};

// Of the tokens that positions which select predict: before, every pattern predicts the same.
struct Fidelity {
  std::int64_t tokens = 0;
  double same_top1 = 1;  // share whose most likely token is that of the reference
  double kl_mean = 0;    // KL(reference || pattern), nats per token
  double kl_p99 = 0;     // the smallest value that at least 99% of the tokens do not exceed
  std::vector<PositionLosses> positions;  // by position bucket, without empty ones

  bool operator==(const Fidelity&) const = default;
};

// Collects comparisons of tokens, pattern by pattern.
class FidelityMeter {
 public:
  // `bucket_ends` as position_buckets gives them; the first bucket begins at `first`.
  FidelityMeter(std::size_t patterns, std::int64_t first, std::vector<std::int64_t> bucket_ends);

  // Adds the token after `position` of a sequence. `reference_loss` and `loss` in nats.
  void add(std::size_t pattern, std::int64_t position, double reference_loss, double loss,
           double kl, bool same_top);

  // [patterns]; nullopt if no position was added.
  std::vector<std::optional<Fidelity>> results() const;

 private:
  struct Sums {
    std::int64_t tokens = 0;
    double reference_loss = 0;
    double loss = 0;
  };
  struct Collected {
    std::vector<float> kl;
    double kl_sum = 0;
    std::int64_t same_top = 0;
    std::vector<Sums> buckets;
  };

  std::optional<Fidelity> result(const Collected& collected) const;

  std::int64_t first_;
  std::vector<std::int64_t> bucket_ends_;
  std::vector<Collected> patterns_;
};

}  // namespace indexcache
