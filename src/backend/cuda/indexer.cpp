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
    case Precision::fp4:  // require_gpu_indexer() refuses it
      break;
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

CudaBackend::IndexOperands CudaBackend::asking_operands(const Tensor& queries,
                                                        const Tensor& head_weights,
                                                        std::int64_t width) {
  const Operation operation(*this, Component::indexer_logits);
  const std::int64_t rows = queries.rows(), heads = head_weights.cols();
  IndexOperands in{index_operand(queries, rows * heads, width),
                   {},
                   head_weights,
                   logits_type(options_.indexer),
                   heads,
                   width};
  if (in.queries.scales.empty()) return in;
  in.head_weights = allocate(rows, heads, DType::f32);
  INDEXCACHE_CUDA(kernels::scale_heads({.weights = head_weights.data<float>(),
                                        .scales = in.queries.scales.data<float>(),
                                        .out = in.head_weights.data<float>(),
                                        .elements = rows * heads},
                                       stream_.get()));
  return in;
}

CudaBackend::IndexOperands CudaBackend::index_operands(const Tensor& queries,
                                                       const Tensor& head_weights,
                                                       const Tensor& keys) {
  IndexOperands in = asking_operands(queries, head_weights, keys.cols());
  const Operation operation(*this, Component::indexer_logits);
  in.keys = index_operand(keys, keys.rows(), keys.cols());
  return in;
}

void CudaBackend::score_candidates(const IndexOperands& in, std::int64_t first_row,
                                   const Operand& keys, const cuda::DeviceRows& places,
                                   const Tensor& logits) {
  const Operation operation(*this, Component::indexer_logits);
  INDEXCACHE_CUDA(kernels::indexer_logits({.queries = in.queries_from(first_row),
                                           .keys = keys.values.data<void>(),
                                           .type = in.type,
                                           .head_weights = in.head_weights_from(first_row),
                                           .key_scales = keys.scales.data<float>(),
                                           .logits = logits.data<float>(),
                                           .logits_stride = logits.stride(),
                                           .segments = places.segments,
                                           .segment_count = places.segment_count,
                                           .most_rows = places.most_rows,
                                           .most_keys = places.most_keys,
                                           .heads = static_cast<int>(in.heads),
                                           .width = static_cast<int>(in.width)},
                                          stream_.get()));
}

void CudaBackend::take_top_k(const Tensor& logits, const kernels::RowPlace* places,
                             std::int64_t longest, const Tensor& sets) {
  const Operation operation(*this, Component::top_k);
  INDEXCACHE_CUDA(kernels::top_k({.scores = logits.data<float>(),
                                  .stride = logits.stride(),
                                  .places = places,
                                  .sets = sets.data<std::int32_t>(),
                                  .sets_stride = sets.stride(),
                                  .rows = sets.rows(),
                                  .k = sets.cols(),
                                  .longest = longest},
                                 stream_.get()));
}

// `rows` begin with row first_row of the operands; sets are theirs.
void CudaBackend::select_exactly(const IndexOperands& in, std::int64_t first_row,
                                 const RowLayout& rows, const RowLayout& key_rows,
                                 const Tensor& sets) {
  const std::int64_t longest = layouts_.get(rows, key_rows).most_keys;
  const std::int64_t stride = (longest + 3) / 4 * 4;
  const std::vector<RowChunk> chunks = row_chunks(rows, logits_chunk() / (4 * stride));
  const Tensor logits = allocate(largest_rows(chunks), stride, DType::f32);
  for (const RowChunk& chunk : chunks) {
    const cuda::DeviceRows& places = layouts_.get(chunk.rows, key_rows);
    score_candidates(in, first_row + chunk.first_row, in.keys, places, logits);
    take_top_k(logits, places.places, places.most_keys, chunk.of(sets));
  }
}

void CudaBackend::index_topk(const RowLayout& rows, const Tensor& queries,
                             const Tensor& head_weights, const RowLayout& key_rows,
                             const Tensor& keys, const Tensor& sets) {
  if (rows.total == 0) return;
  select_exactly(index_operands(queries, head_weights, keys), 0, rows, key_rows, sets);
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
