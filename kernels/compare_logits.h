// SPDX-License-Identifier: Apache-2.0
// How the softmax of a row of logits differs from that of a reference:
//   kl[r] = KL(softmax(reference[r]) || softmax(logits[r])), clamped to >= 0
//   same_top[r] = 1 if the highest logit of both rows, the first among equals, is the same token
// Both are 0 if the target is negative. Maxima are subtracted; exponentials in float32, sums and
// logarithms in float64, in one fixed order: equal rows cancel exactly. Two reads of the logits.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct CompareLogitsParams {
  const float* reference;       // [rows, vocabulary]
  const float* logits;          // [rows, vocabulary]
  const std::int32_t* targets;  // [rows]
  double* kl;                   // [rows]
  std::uint8_t* same_top;       // [rows]
  std::int64_t rows;
  std::int64_t vocabulary;
};

cudaError_t compare_logits(const CompareLogitsParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
