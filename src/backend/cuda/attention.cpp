// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_backend.h"
#include "core/error.h"
#include "kernels/causal_attention.h"
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

void CudaBackend::causal_attention(const RowLayout& rows, const Heads& queries,
                                   const RowLayout& key_rows, const ExpandedKeys& keys, float scale,
                                   const Heads& out, const Tensor& sinks) {
  const Operation operation(*this, Component::sparse_attention);
  const cuda::DeviceRows& places = layouts_.get(rows, key_rows);
  INDEXCACHE_CUDA(kernels::causal_attention({.queries = queries.tensor.data<void>(),
                                             .type = cuda::kernel_type(out.tensor.dtype()),
                                             .query_stride = queries.tensor.stride(),
                                             .query_head_stride = queries.stride,
                                             .nope = keys.nope.tensor.data<void>(),
                                             .nope_stride = keys.nope.tensor.stride(),
                                             .nope_head_stride = keys.nope.stride,
                                             .rope = keys.rope.data<void>(),
                                             .rope_stride = keys.rope.stride(),
                                             .values = keys.values.tensor.data<void>(),
                                             .value_stride = keys.values.tensor.stride(),
                                             .value_head_stride = keys.values.stride,
                                             .segments = places.segments,
                                             .segment_count = places.segment_count,
                                             .most_rows = places.most_rows,
                                             .out = out.tensor.data<void>(),
                                             .out_stride = out.tensor.stride(),
                                             .out_head_stride = out.stride,
                                             .heads = static_cast<int>(queries.count),
                                             .nope_width = static_cast<int>(keys.nope.width),
                                             .rope_width = static_cast<int>(keys.rope.cols()),
                                             .value_width = static_cast<int>(keys.values.width),
                                             .scale = scale,
                                             .sinks = sinks.data<float>()},
                                            stream_.get()));
}

}  // namespace indexcache
