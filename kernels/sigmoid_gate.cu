// SPDX-License-Identifier: Apache-2.0
#include "kernels/eight.cuh"
#include "kernels/sigmoid_gate.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;

__device__ float gated(float gate, float value) {
  return value / (1.0f + expf(-gate));
}

// Where the i-th group of `Group` elements begins.
template <typename T, int Group>
struct Place {
  const T* gate;
  T* value;

  __device__ Place(const SigmoidGateParams& p, std::int64_t i) {
    const std::int64_t per_head = p.width / Group;
    const std::int64_t column = i % per_head * Group, head = i / per_head % p.heads;
    const std::int64_t row = i / per_head / p.heads;
    gate =
        static_cast<const T*>(p.gates) + row * p.gate_stride + head * p.gate_head_stride + column;
    value = static_cast<T*>(p.values) + row * p.value_stride + head * p.value_head_stride + column;
  }
};

template <typename T>
__global__ void sigmoid_gate_kernel(SigmoidGateParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= p.rows * p.heads * p.width) return;
  const Place<T, 1> at(p, i);
  *at.value = from_float<T>(gated(to_float(*at.gate), to_float(*at.value)));
}

template <typename T>
__global__ void sigmoid_gate_eight_kernel(SigmoidGateParams p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= p.rows * p.heads * p.width / kEight) return;
  const Place<T, kEight> at(p, i);
  float gate[kEight], value[kEight];
  load_eight(gate, at.gate);
  load_eight(value, at.value);
#pragma unroll
  for (int j = 0; j < kEight; ++j) value[j] = gated(gate[j], value[j]);
  store_eight(at.value, value);
}

}  // namespace

cudaError_t sigmoid_gate(const SigmoidGateParams& params, cudaStream_t stream) {
  const std::int64_t elements = params.rows * params.heads * params.width;
  if (elements == 0) return cudaSuccess;
  const bool eights = whole_eights(params.gates, params.type,
                                   params.gate_stride | params.gate_head_stride, params.width) &&
                      whole_eights(params.values, params.type,
                                   params.value_stride | params.value_head_stride, params.width);
  const auto blocks =
      static_cast<unsigned>(ceil_div(eights ? elements / kEight : elements, kThreads));
  return with_float_type(params.type, [&](auto type) {
    using T = decltype(type);
    if (eights) {
      sigmoid_gate_eight_kernel<T><<<blocks, kThreads, 0, stream>>>(params);
    } else {
      sigmoid_gate_kernel<T><<<blocks, kThreads, 0, stream>>>(params);
    }
    return cudaGetLastError();
  });
}

}  // namespace indexcache::kernels
