// SPDX-License-Identifier: Apache-2.0
#include "kernels/indexer_logits.h"

namespace indexcache::kernels {

cudaError_t indexer_logits(const IndexerLogitsParams& params, cudaStream_t stream) {
  if (params.most_rows == 0 || params.segment_count == 0 || params.most_keys == 0) {
    return cudaSuccess;
  }
  if (params.type == Type::f32) return indexer_logits_f32(params, stream);
  if (indexer_logits_sm90_applies(params)) return indexer_logits_sm90(params, stream);
  return indexer_logits_mma(params, stream);
}

}  // namespace indexcache::kernels
