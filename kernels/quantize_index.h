// SPDX-License-Identifier: Apache-2.0
// Indexer queries and keys as they are deployed in FP8 (docs/numerics.md): round to bf16, Hadamard
// transform (Sylvester order, times width^-0.5), round to bf16, then one power-of-two scale (ue8m0)
// per vector:
//   s = 2^ceil(log2(max(max|x|, 1e-4) / 448)),  out = e4m3(clamp(x / s, -448, 448)), nearest even.
// The transform is orthogonal: it only spreads outliers. Butterflies in float32, of elements whose
// numbers differ in bit 0 first, then in bit 1, and so on. A lane has eight neighboring elements.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kLeastQuantizedWidth = 32;
inline constexpr int kMostQuantizedWidth = 256;

struct QuantizeIndexParams {
  const void* x;  // type [vectors, width]: f32 or bf16; 16-byte aligned, as is `out`
  Type type;
  void* out;      // e4m3 [vectors, width]
  float* scales;  // [vectors]
  std::int64_t vectors;
  std::int64_t width;  // a power of two from kLeastQuantizedWidth to kMostQuantizedWidth
};

cudaError_t quantize_index(const QuantizeIndexParams& params, cudaStream_t stream);

struct ScaleHeadsParams {
  const float* weights;  // [rows, heads]
  const float* scales;   // [rows, heads]
  float* out;            // weights * scales
  std::int64_t elements;
};

// The query scales join the head weights, so that the logits kernel sees one factor per head.
cudaError_t scale_heads(const ScaleHeadsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
