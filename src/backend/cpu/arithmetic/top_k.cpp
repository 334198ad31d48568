// SPDX-License-Identifier: Apache-2.0
// Deterministic selection of the k highest scores of a row.
#include "backend/cpu/arithmetic/arithmetic.h"

#include <bit>

namespace indexcache::cpu {
namespace {

// An unsigned integer that orders as the float does.
std::uint32_t sortable(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);  // -0 becomes +0
  const std::uint32_t negative = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31);
  return bits ^ (negative | 0x80000000u);
}

std::int64_t count_at_least(const std::vector<std::uint32_t>& keys, std::uint32_t threshold) {
  std::uint32_t count = 0;
  for (std::uint32_t key : keys) count += key >= threshold ? 1 : 0;
  return count;
}

// The k-th largest key, one bit at a time from the top: 32 passes of a compare and an add, which
// vectorize, beat a selection by exchange at every length met here.
std::uint32_t kth_largest(const std::vector<std::uint32_t>& keys, std::int64_t k) {
  std::uint32_t threshold = 0;
  for (std::uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
    if (count_at_least(keys, threshold | bit) >= k) threshold |= bit;
  }
  return threshold;
}

}  // namespace

void select_top_k(std::span<const float> scores, std::int64_t k,
                  std::vector<std::uint32_t>& workspace, std::int32_t* out) {
  workspace.resize(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) workspace[i] = sortable(scores[i]);
  const std::uint32_t threshold = kth_largest(workspace, k);
  const std::int64_t greater = threshold == ~0u ? 0 : count_at_least(workspace, threshold + 1);
  std::int64_t equals_left = k - greater;
  std::int64_t taken = 0;
  for (std::size_t i = 0; taken < k; ++i) {
    const bool equal = workspace[i] == threshold && equals_left > 0;
    equals_left -= equal ? 1 : 0;
    out[taken] = static_cast<std::int32_t>(i);
    taken += workspace[i] > threshold || equal ? 1 : 0;
  }
}

}  // namespace indexcache::cpu
