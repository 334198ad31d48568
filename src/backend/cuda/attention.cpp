// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/pack_memory.h"
#include "core/error.h"
#include "kernels/causal_attention.h"
#include "kernels/sparse_attention.h"

#include <fmt/format.h>

namespace indexcache {

namespace {

// All but the keys.
kernels::SparseAttentionParams attention_params(const RowLayout& rows, const Heads& queries,
                                                const Tensor& sets, float scale, const Heads& out,
                                                const Tensor& sinks) {
  kernels::SparseAttentionParams p{};
  p.queries = queries.tensor.data<void>();
  p.type = cuda::kernel_type(queries.tensor.dtype());
  p.query_stride = queries.tensor.stride();
  p.query_head_stride = queries.stride;
  p.sets = sets.data<std::int32_t>();
  p.sets_stride = sets.stride();
  p.k = static_cast<int>(sets.cols());
  p.out = out.tensor.data<void>();
  p.out_stride = out.tensor.stride();
  p.out_head_stride = out.stride;
  p.rows = rows.total;
  p.heads = static_cast<int>(queries.count);
  p.key_width = static_cast<int>(queries.width);
  p.value_width = static_cast<int>(out.width);
  p.scale = scale;
  p.sinks = sinks.data<float>();
  return p;
}

}  // namespace

void CudaBackend::sparse_attention(const RowLayout& rows, const Heads& queries,
                                   const RowLayout& key_rows, const Tensor& keys,
                                   const Tensor& values, const Tensor& sets, float scale,
                                   const Heads& out, const Tensor& sinks) {
  const Operation operation(*this, Component::sparse_attention);
  if (values.data<void>() != keys.data<void>()) {
    throw InternalError({"attention on the GPU takes its values from the first columns of the keys",
                         "sparse_attention", "", "report it"});
  }
  kernels::SparseAttentionParams p = attention_params(rows, queries, sets, scale, out, sinks);
  p.keys = keys.data<void>();
  p.key_stride = keys.stride();
  const cuda::DeviceRows& places = layouts_.get(rows, key_rows);
  p.places = places.places;
  const kernels::PackedSets packing = sets.empty() ? kernels::PackedSets{} : kernels::packing_of(p);
  const cuda::PackMemory memory(*this, packing, rows.total);  // until the launch
  p.packed = memory.sets();
  if (packing.queries > 0) {
    INDEXCACHE_CUDA(kernels::pack_sets({.sets = p.sets,
                                        .sets_stride = p.sets_stride,
                                        .k = p.k,
                                        .segments = places.segments,
                                        .segment_count = places.segment_count,
                                        .most_rows = places.most_rows,
                                        .positions = places.most_keys},
                                       p.packed, stream_.get()));
  }
  INDEXCACHE_CUDA(kernels::sparse_attention(p, stream_.get()));
}

void CudaBackend::window_attention(const RowLayout& rows, const Heads& queries,
                                   const WindowKeys& keys, float scale, const Heads& out,
                                   const Tensor& sinks) {
  const Operation operation(*this, Component::sparse_attention);
  kernels::SparseAttentionParams p = attention_params(rows, queries, keys.sets, scale, out, sinks);
  p.recent = keys.keys.data<void>();
  p.recent_stride = keys.keys.stride();
  p.recent_places = layouts_.get(rows, keys.rows).places;
  p.window = static_cast<int>(keys.window);
  p.places = p.recent_places;
  if (!keys.entries.empty()) {
    p.keys = keys.entries.data<void>();
    p.key_stride = keys.entries.stride();
    p.places = layouts_.get(rows, keys.entry_rows).places;
  }
  INDEXCACHE_CUDA(kernels::sparse_attention(p, stream_.get()));
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
