// SPDX-License-Identifier: Apache-2.0
// noaux_tc routing (docs/numerics.md): scores p = sigmoid(logits) or sqrt(ln(1 + exp(logits))),
// choices c = p + bias. With groups, a group scores the sum of its two largest c and the best
// `kept_groups` stay; the c of all others become `excluded`. The `experts_used` largest c are
// chosen, the lower expert first among equals, and written in ascending order; weights are their p,
// normalized (sum + 1e-20) if `normalize`, times `scale`. Sums in ascending order of experts. One
// warp per row.
// weigh_experts: the weights of experts that are chosen already; sums in their order. One thread
// per row.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kMostExperts = 1024;
inline constexpr int kMostExpertGroups = 32;
inline constexpr int kMostExpertsUsed = 32;

enum class RouterScore { sigmoid, sqrt_softplus };

struct RouteParams {
  const float* logits;   // [rows, experts]
  const float* bias;     // [experts]
  std::int32_t* chosen;  // [rows, experts_used]
  float* weights;        // [rows, experts_used]
  std::int64_t rows;
  int experts;  // at most kMostExperts
  int groups;   // at most kMostExpertGroups; 1 for no limit
  int kept_groups;
  int experts_used;  // at most kMostExpertsUsed
  bool normalize;
  float scale;
  float excluded;  // -inf, or what competes with the choices of the kept groups
  RouterScore score;
};

cudaError_t route(const RouteParams& params, cudaStream_t stream);

struct WeighExpertsParams {
  const float* logits;         // [rows, experts]
  const std::int32_t* chosen;  // [rows, experts_used]
  float* weights;              // [rows, experts_used]
  std::int64_t rows;
  int experts, experts_used;
  bool normalize;
  float scale;
  RouterScore score;
};

cudaError_t weigh_experts(const WeighExpertsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
