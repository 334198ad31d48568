// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_backend.h"
#include "core/error.h"
#include "kernels/sparse_attention.h"

#include <fmt/format.h>

namespace indexcache {

void CudaBackend::sparse_attention(const RowLayout& rows, const Heads& queries,
                                   const RowLayout& key_rows, const Tensor& keys,
                                   const Tensor& values, const Tensor& sets, float scale,
                                   const Heads& out, const Tensor& sinks) {
  const Operation operation(*this, Component::sparse_attention);
  if (values.data<void>() != keys.data<void>()) {
    throw InternalError({"attention on the GPU takes its values from the first columns of the keys",
                         "sparse_attention", "", "report it"});
  }
  INDEXCACHE_CUDA(kernels::sparse_attention({.queries = queries.tensor.data<void>(),
                                             .type = cuda::kernel_type(keys.dtype()),
                                             .query_stride = queries.tensor.stride(),
                                             .query_head_stride = queries.stride,
                                             .keys = keys.data<void>(),
                                             .key_stride = keys.stride(),
                                             .sets = sets.data<std::int32_t>(),
                                             .sets_stride = sets.stride(),
                                             .k = static_cast<int>(sets.cols()),
                                             .places = layouts_.get(rows, key_rows).places,
                                             .out = out.tensor.data<void>(),
                                             .out_stride = out.tensor.stride(),
                                             .out_head_stride = out.stride,
                                             .rows = rows.total,
                                             .heads = static_cast<int>(queries.count),
                                             .key_width = static_cast<int>(keys.cols()),
                                             .value_width = static_cast<int>(values.cols()),
                                             .scale = scale,
                                             .sinks = sinks.data<float>()},
                                            stream_.get()));
}

}  // namespace indexcache
