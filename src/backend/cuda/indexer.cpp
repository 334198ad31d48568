// SPDX-License-Identifier: Apache-2.0
// Lightning indexer with top-k, and the intersection counts of the sets it selects.
#include "backend/cuda/cuda_backend.h"
#include "backend/pair_counts.h"
#include "backend/row_chunks.h"
#include "kernels/indexer_logits.h"
#include "kernels/overlap.h"
#include "kernels/quantize_index.h"
#include "kernels/top_k.h"

#include <algorithm>

namespace indexcache {

using cuda::kernel_type;

namespace {

kernels::Type logits_type(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return kernels::Type::f32;
    case Precision::bf16:
      return kernels::Type::bf16;
    case Precision::fp8:
      return kernels::Type::e4m3;
  }
  return kernels::Type::f32;
}

}  // namespace

CudaBackend::Operand CudaBackend::index_operand(const Tensor& x, std::int64_t vectors,
                                                std::int64_t width) {
  if (options_.indexer == Precision::fp8) {
    Operand operand{allocate(vectors, width, DType::f8_e4m3), allocate(vectors, 1, DType::f32)};
    INDEXCACHE_CUDA(kernels::quantize_index({.x = x.data<void>(),
                                             .type = kernel_type(x.dtype()),
                                             .out = operand.values.data<void>(),
                                             .scales = operand.scales.data<float>(),
                                             .vectors = vectors,
                                             .width = width},
                                            stream_.get()));
    return operand;
  }
  if (options_.indexer == Precision::fp32 || x.dtype() == DType::bf16) return {x, {}};
  const Tensor rounded = allocate(vectors, width, DType::bf16);
  round(x, rounded);
  return {rounded, {}};
}

void CudaBackend::index_topk(const RowLayout& rows, const Tensor& queries,
                             const Tensor& head_weights, const RowLayout& key_rows,
                             const Tensor& keys, const Tensor& sets) {
  if (rows.total == 0) return;
  const std::int64_t heads = head_weights.cols(), width = keys.cols();
  Operand q, k;
  Tensor weights = head_weights;
  {
    const Operation operation(*this, Component::indexer_logits);
    q = index_operand(queries, rows.total * heads, width);
    k = index_operand(keys, keys.rows(), width);
    if (!q.scales.empty()) {
      weights = allocate(rows.total, heads, DType::f32);
      INDEXCACHE_CUDA(kernels::scale_heads({.weights = head_weights.data<float>(),
                                            .scales = q.scales.data<float>(),
                                            .out = weights.data<float>(),
                                            .elements = rows.total * heads},
                                           stream_.get()));
    }
  }
  const std::int64_t longest = layouts_.get(rows, key_rows).most_keys;
  const std::int64_t stride = (longest + 3) / 4 * 4;
  const std::vector<RowChunk> chunks = row_chunks(rows, logits_bytes_ / (4 * stride));
  const Tensor logits = allocate(largest_rows(chunks), stride, DType::f32);
  const std::int64_t query_bytes =
      heads * width * static_cast<std::int64_t>(size_of(q.values.dtype()));
  for (const RowChunk& chunk : chunks) {
    const cuda::DeviceRows& places = layouts_.get(chunk.rows, key_rows);
    {
      const Operation operation(*this, Component::indexer_logits);
      INDEXCACHE_CUDA(
          kernels::indexer_logits({.queries = q.values.data<char>() + chunk.first_row * query_bytes,
                                   .keys = k.values.data<void>(),
                                   .type = logits_type(options_.indexer),
                                   .head_weights = weights.data<float>() + chunk.first_row * heads,
                                   .key_scales = k.scales.data<float>(),
                                   .logits = logits.data<float>(),
                                   .logits_stride = stride,
                                   .segments = places.segments,
                                   .segment_count = places.segment_count,
                                   .most_rows = places.most_rows,
                                   .most_keys = places.most_keys,
                                   .heads = static_cast<int>(heads),
                                   .width = static_cast<int>(width)},
                                  stream_.get()));
    }
    const Operation operation(*this, Component::top_k);
    const Tensor out = chunk.of(sets);
    INDEXCACHE_CUDA(kernels::top_k({.scores = logits.data<float>(),
                                    .stride = stride,
                                    .places = places.places,
                                    .sets = out.data<std::int32_t>(),
                                    .sets_stride = out.stride(),
                                    .rows = chunk.rows.total,
                                    .k = out.cols(),
                                    .longest = places.most_keys},
                                   stream_.get()));
  }
}

std::vector<std::int64_t> CudaBackend::overlap_counts(const RowLayout& rows,
                                                      const std::vector<Tensor>& sets,
                                                      std::span<const std::int64_t> bucket_ends) {
  const Operation operation(*this, Component::other);
  const auto layers = static_cast<std::int64_t>(sets.size());
  const auto buckets = static_cast<std::int64_t>(bucket_ends.size());
  std::vector<std::int64_t> counts(static_cast<std::size_t>(buckets * layers * layers), 0);
  if (rows.total == 0) return counts;
  std::vector<const std::int32_t*> addresses;
  for (const Tensor& set : sets) addresses.push_back(set.data<std::int32_t>());
  const Tensor device_sets = upload_raw(addresses.data(), layers, 1, DType::i64, Memory::workspace);
  const Tensor ends = upload_raw(bucket_ends.data(), buckets, 1, DType::i64, Memory::workspace);
  const Tensor total =
      upload_raw(counts.data(), buckets, layers * layers, DType::i64, Memory::workspace);
  const cuda::DeviceRows& places = layouts_.get(rows, rows);
  INDEXCACHE_CUDA(kernels::overlap({.sets = device_sets.data<const std::int32_t* const>(),
                                    .sets_stride = sets.front().stride(),
                                    .places = places.places,
                                    .bucket_ends = ends.data<std::int64_t>(),
                                    .counts = total.data<unsigned long long>(),
                                    .rows = rows.total,
                                    .layers = static_cast<int>(layers),
                                    .k = static_cast<int>(sets.front().cols()),
                                    .buckets = static_cast<int>(buckets),
                                    .longest = places.longest},
                                   stream_.get()));
  download_raw(total, counts.data());
  mirror(counts, sets.size());
  return counts;
}

}  // namespace indexcache
