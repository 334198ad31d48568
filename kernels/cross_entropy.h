// SPDX-License-Identifier: Apache-2.0
// Negative log-likelihood of targets: loss[r] = logsumexp(logits[r]) - logits[r, target]; 0 if
// the target is negative. The maximum is subtracted; exponentials and partial sums in float32, the
// sum of the partial sums and the logarithm in float64, in one fixed order. One read of the logits.
// And sums of losses by segment, float64, in a fixed order that depends only on the segment.
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

struct CrossEntropyParams {
  const float* logits;          // [rows, vocabulary]
  const std::int32_t* targets;  // [rows]
  double* losses;               // [rows]
  std::int64_t rows;
  std::int64_t vocabulary;
};

cudaError_t cross_entropy(const CrossEntropyParams& params, cudaStream_t stream);

struct SegmentSumParams {
  const double* values;        // [rows]
  const KeySegment* segments;  // [segment_count]: first_row and rows
  double* sums;                // [segment_count]
  int segment_count;
};

cudaError_t segment_sum(const SegmentSumParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
