// SPDX-License-Identifier: Apache-2.0
// Elementwise gates: values *= sigmoid(gates), sigmoid(x) = 1 / (1 + exp(-x)), in float32. `gates`
// may be `values`, because a thread reads its elements before it writes them.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct SigmoidGateParams {
  const void* gates;  // type [rows, heads, width]
  std::int64_t gate_stride, gate_head_stride;
  void* values;  // type [rows, heads, width]
  std::int64_t value_stride, value_head_stride;
  Type type;
  std::int64_t rows, heads, width;
};

cudaError_t sigmoid_gate(const SigmoidGateParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
