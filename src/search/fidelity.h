// SPDX-License-Identifier: Apache-2.0
// How far a pattern's predictions are from those of the model that runs every indexer: what a mean
// loss does not show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
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

// How the prediction of one token differs from the reference's; losses and KL divergence in nats.
struct TokenFidelity {
  double reference_loss;
  double loss;
  double kl;
  bool same_top;
};

// Sums over the predicted tokens of one sequence under one pattern.
struct FidelitySums {
  struct Bucket {
    std::int64_t tokens = 0;
    double reference_loss = 0;
    double loss = 0;
  };

  std::vector<float> kl;  // of every token
  double kl_sum = 0;
  std::int64_t same_top = 0;
  std::vector<Bucket> buckets;  // by position

  FidelitySums& operator+=(const FidelitySums& more);
};

// Collects comparisons of tokens by pattern and sequence. Sums are added up in the order of the
// sequences, so they do not depend on waves, nor on which device compared which sequence.
class FidelityMeter {
 public:
  // `bucket_ends` as position_buckets gives them; the first bucket begins at `first`.
  FidelityMeter(std::size_t patterns, std::size_t sequences, std::int64_t first,
                std::vector<std::int64_t> bucket_ends);

  // Adds the token after `position`; the positions of a sequence come in ascending order.
  void add(std::size_t pattern, std::size_t sequence, std::int64_t position,
           const TokenFidelity& token);

  // Replaces what was collected of a pattern on a sequence.
  void set(std::size_t pattern, std::size_t sequence, FidelitySums sums);
  // Everything, [patterns][sequences]; nothing is left.
  std::vector<std::vector<FidelitySums>> take() { return std::move(sums_); }

  // [patterns]; nullopt if no position was added.
  std::vector<std::optional<Fidelity>> results() const;

 private:
  std::optional<Fidelity> result(const FidelitySums& sums) const;

  std::int64_t first_;
  std::vector<std::int64_t> bucket_ends_;
  std::vector<std::vector<FidelitySums>> sums_;  // [patterns][sequences]
};

}  // namespace indexcache
