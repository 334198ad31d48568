// SPDX-License-Identifier: Apache-2.0
#include "kernels/mean_attention.h"

namespace indexcache::kernels {

cudaError_t mean_attention(const MeanAttentionParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.segment_count == 0 || params.most_keys == 0) return cudaSuccess;
  if (params.width % kMeanAttentionUnit != 0 || params.key_stride % kMeanAttentionUnit != 0 ||
      params.query_stride % kMeanAttentionUnit != 0 ||
      params.query_head_stride % kMeanAttentionUnit != 0) {
    return cudaErrorInvalidValue;
  }
  if (params.sets != nullptr) return mean_attention_gather(params, stream);
  if (mean_attention_mma_applies(params)) return mean_attention_mma(params, stream);
  return mean_attention_general(params, stream);
}

}  // namespace indexcache::kernels
