// SPDX-License-Identifier: Apache-2.0
#include "kernels/distill_rows.h"
#include "kernels/index_backward.h"

namespace indexcache::kernels {

cudaError_t index_backward(const IndexBackwardParams& params, cudaStream_t stream) {
  if (params.most_rows == 0 || params.segment_count == 0) return cudaSuccess;
  if (params.stride % kDistillTile != 0) return cudaErrorInvalidValue;
  if (params.type == Type::f32) return index_backward_f32(params, stream);
  return index_backward_mma(params, stream);
}

}  // namespace indexcache::kernels
