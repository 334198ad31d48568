// SPDX-License-Identifier: Apache-2.0
#include "kernels/common.cuh"
#include "kernels/route.h"

namespace indexcache::kernels {
namespace {

constexpr int kRows = 4;  // warps of a block

__device__ float score_of(float logit, RouterScore score) {
  if (score == RouterScore::sigmoid) return 1.0f / (1.0f + expf(-logit));
  constexpr float kLinear = 20;  // from there on ln(1 + e^x) is x in float32
  return sqrtf(logit > kLinear ? logit : log1pf(expf(logit)));
}

// Sets the choices of all but the best groups to p.excluded. A lane scores a group.
__device__ void limit_groups(const RouteParams& p, float* choices) {
  const int lane = static_cast<int>(threadIdx.x);
  const int size = p.experts / p.groups;
  float score = -INFINITY;
  if (lane < p.groups) {
    float first = -INFINITY, second = -INFINITY;
    for (int e = lane * size; e < (lane + 1) * size; ++e) {
      second = fmaxf(second, fminf(first, choices[e]));
      first = fmaxf(first, choices[e]);
    }
    score = first + second;
  }
  int better = 0;
  for (int g = 0; g < p.groups; ++g) {
    const float other = __shfl_sync(kAllLanes, score, g);
    better += other > score || (other == score && g < lane) ? 1 : 0;
  }
  const unsigned kept = __ballot_sync(kAllLanes, lane < p.groups && better < p.kept_groups);
  __syncwarp();
  for (int e = lane; e < p.experts; e += kWarp) {
    if ((kept >> (e / size) & 1u) == 0) choices[e] = p.excluded;
  }
  __syncwarp();
}

// The largest choice of the row, the lower expert among equals; the same in every lane.
__device__ int best_expert(const float* choices, int experts) {
  float value = -INFINITY;
  int best = experts;
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += kWarp) {
    if (choices[e] > value || best == experts) value = choices[e], best = e;
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, offset);
    const int other_best = __shfl_xor_sync(kAllLanes, best, offset);
    if (other > value || (other == value && other_best < best)) value = other, best = other_best;
  }
  return best;
}

__global__ void route_kernel(RouteParams p) {
  extern __shared__ float memory[];
  const std::int64_t row = std::int64_t{blockIdx.x} * kRows + threadIdx.y;
  if (row >= p.rows) return;
  const int lane = static_cast<int>(threadIdx.x);
  float* choices = memory + 2 * threadIdx.y * p.experts;
  float* probabilities = choices + p.experts;
  for (int e = lane; e < p.experts; e += kWarp) {
    probabilities[e] = score_of(p.logits[row * p.experts + e], p.score);
    choices[e] = probabilities[e] + p.bias[e];
  }
  __syncwarp();
  if (p.groups > 1) limit_groups(p, choices);
  int mine = p.experts;  // the lane-th choice
  for (int n = 0; n < p.experts_used; ++n) {
    const int best = best_expert(choices, p.experts);
    if (lane == n) mine = best;
    __syncwarp();
    if (lane == 0) choices[best] = -INFINITY;
    __syncwarp();
  }
  int rank = 0;  // ascending order of experts
  for (int n = 0; n < p.experts_used; ++n) {
    rank += __shfl_sync(kAllLanes, mine, n) < mine ? 1 : 0;
  }
  std::int32_t* chosen = p.chosen + row * p.experts_used;
  if (lane < p.experts_used) chosen[rank] = mine;
  __syncwarp();
  float total = 1e-20f;
  for (int n = 0; n < p.experts_used; ++n) total += probabilities[chosen[n]];
  const float factor = p.normalize ? p.scale / total : p.scale;
  if (lane < p.experts_used) {
    p.weights[row * p.experts_used + rank] = probabilities[mine] * factor;
  }
}

__global__ void weigh_kernel(WeighExpertsParams p) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= p.rows) return;
  const float* logits = p.logits + row * p.experts;
  const std::int32_t* chosen = p.chosen + row * p.experts_used;
  float* weights = p.weights + row * p.experts_used;
  float total = 1e-20f;
  for (int n = 0; n < p.experts_used; ++n) {
    weights[n] = score_of(logits[chosen[n]], p.score);
    total += weights[n];
  }
  const float factor = p.normalize ? p.scale / total : p.scale;
  for (int n = 0; n < p.experts_used; ++n) weights[n] *= factor;
}

}  // namespace

cudaError_t weigh_experts(const WeighExpertsParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  constexpr int kThreads = 128;
  weigh_kernel<<<static_cast<unsigned>(ceil_div(params.rows, kThreads)), kThreads, 0, stream>>>(
      params);
  return cudaGetLastError();
}

cudaError_t route(const RouteParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.experts > kMostExperts || params.groups > kMostExpertGroups ||
      params.experts_used > kMostExpertsUsed || params.experts % params.groups != 0) {
    return cudaErrorInvalidValue;
  }
  static_assert(kMostExpertGroups <= kWarp && kMostExpertsUsed <= kWarp);  // one per lane
  const std::size_t bytes = sizeof(float) * 2 * kRows * static_cast<std::size_t>(params.experts);
  route_kernel<<<static_cast<unsigned>(ceil_div(params.rows, kRows)), dim3(kWarp, kRows), bytes,
                 stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
