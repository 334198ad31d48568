// SPDX-License-Identifier: Apache-2.0
// Decode over paged caches. Where no kernel reads the pages themselves, keys are gathered and meet
// the kernels of a prefill.
#include "backend/cuda/cuda_backend.h"
#include "core/error.h"
#include "kernels/decode_attention.h"
#include "kernels/decode_logits.h"

#include <algorithm>
#include <limits>

namespace indexcache {

using cuda::kernel_type;

namespace {

kernels::Pages pages_in(const PagedCache& cache, const Tensor& tables) {
  const PageFormat& format = cache.format;
  kernels::Pages pages{cache.pages.data<void>(), kernels::PageKind::rows,
                       static_cast<int>(format.position_bytes()), tables.data<std::int32_t>(),
                       tables.stride()};
  if (format.layout == PageLayout::index_fp8) {
    pages.kind = kernels::PageKind::index_fp8;
    pages.position_bytes = static_cast<int>(format.width);
  } else if (format.layout == PageLayout::latent_fp8) {
    pages.kind = kernels::PageKind::latent_fp8;
  }
  return pages;
}

// The type of numbers that are gathered from pages; `otherwise` for those that are widened.
DType gathered_type(const PageFormat& format, DType otherwise) {
  switch (format.layout) {
    case PageLayout::plain:
      return format.type;
    case PageLayout::index_fp8:
      return DType::f8_e4m3;
    case PageLayout::latent_fp8:
      return otherwise;
  }
  return otherwise;
}

// The keys of all positions that rows see; of the first `most` at most.
RowLayout keys_seen(const RowLayout& rows, std::int64_t most) {
  RowLayout keys;
  for (const Segment& segment : rows.segments) {
    keys.append(std::min(segment.first_position + 1, most), 0);
  }
  return keys;
}

}  // namespace

PageFormat CudaBackend::index_page_format(std::int64_t width) const {
  switch (options_.indexer) {
    case Precision::fp8:
      return {PageLayout::index_fp8, DType::f8_e4m3, width};
    case Precision::bf16:
      return {PageLayout::plain, DType::bf16, width};
    default:
      return {PageLayout::plain, DType::f32, width};
  }
}

void CudaBackend::write_pages(const RowLayout& rows, const Tensor& x, const Tensor& tables,
                              const PagedCache& cache) {
  if (rows.total == 0) return;
  const Operation operation(*this, Component::other);
  const PageFormat& format = cache.format;
  Operand in{x, {}};
  if (format.layout == PageLayout::index_fp8) {
    if (options_.indexer != Precision::fp8) {
      throw InternalError(
          {"pages of FP8 keys on a GPU whose indexer is not FP8", "write_pages", "", "report it"});
    }
    in = index_operand(x, x.rows(), x.cols());
  } else if (format.layout == PageLayout::plain && format.type != x.dtype()) {
    in.values = allocate(x.rows(), x.cols(), format.type);
    round(x, in.values);
  }
  const auto bytes = static_cast<std::int64_t>(size_of(in.values.dtype()));
  const cuda::DeviceRows& places = layouts_.get(rows, rows);
  INDEXCACHE_CUDA(kernels::write_pages({.pages = pages_in(cache, tables),
                                        .x = in.values.data<void>(),
                                        .type = kernel_type(in.values.dtype()),
                                        .row_bytes = in.values.stride() * bytes,
                                        .scales = in.scales.data<float>(),
                                        .segments = places.segments,
                                        .segment_count = places.segment_count,
                                        .most_rows = places.most_rows},
                                       stream_.get()));
}

void CudaBackend::score_pages(const IndexOperands& in, const RowLayout& rows,
                              const RowLayout& key_rows, const kernels::Pages& pages,
                              const Tensor& logits) {
  const cuda::DeviceRows& places = layouts_.get(rows, key_rows);
  const kernels::DecodeLogitsParams params{.queries = in.queries_from(0),
                                           .type = in.type,
                                           .head_weights = in.head_weights_from(0),
                                           .pages = pages,
                                           .places = places.places,
                                           .logits = logits.data<float>(),
                                           .logits_stride = logits.stride(),
                                           .rows = static_cast<int>(rows.total),
                                           .most_keys = places.most_keys,
                                           .heads = static_cast<int>(in.heads),
                                           .width = static_cast<int>(in.width)};
  Operand keys;
  {
    const Operation operation(*this, Component::indexer_logits);
    if (kernels::decode_logits_sm90_applies(params)) {
      INDEXCACHE_CUDA(kernels::decode_logits_sm90(params, stream_.get()));
      return;
    }
    keys.values = allocate(key_rows.total, in.width, in.queries.values.dtype());
    if (!in.queries.scales.empty()) keys.scales = allocate(key_rows.total, 1, DType::f32);
    INDEXCACHE_CUDA(kernels::gather_pages({.pages = pages,
                                           .sets = nullptr,
                                           .sets_stride = 0,
                                           .places = places.places,
                                           .rows = static_cast<int>(rows.total),
                                           .most_keys = places.most_keys,
                                           .out = keys.values.data<void>(),
                                           .type = in.type,
                                           .scales = keys.scales.data<float>()},
                                          stream_.get()));
  }
  score_candidates(in, 0, keys, places, logits);
}

void CudaBackend::paged_topk(const RowLayout& rows, const Tensor& queries,
                             const Tensor& head_weights, const Tensor& tables,
                             const PagedCache& cache, const Tensor& sets) {
  if (rows.total == 0) return;
  const IndexOperands in = asking_operands(queries, head_weights, cache.format.width);
  if (gathered_type(cache.format, DType::other) != in.queries.values.dtype()) {
    throw InternalError(
        {"pages have another type than the indexer multiplies", "paged_topk", "", "report it"});
  }
  const RowLayout key_rows = keys_seen(rows, std::numeric_limits<std::int64_t>::max());
  const cuda::DeviceRows& places = layouts_.get(rows, key_rows);
  const std::int64_t stride = (std::int64_t{places.most_keys} + 3) / 4 * 4;
  const Tensor logits = allocate(rows.total, stride, DType::f32);
  score_pages(in, rows, key_rows, pages_in(cache, tables), logits);
  take_top_k(logits, places.places, places.most_keys, sets);
}

void CudaBackend::attend_gathered(const RowLayout& rows, const Heads& queries,
                                  const kernels::Pages& pages, const PageFormat& format,
                                  const Tensor& sets, float scale, const Heads& out,
                                  const Tensor& sinks) {
  // Gathered keys are all candidates of a row at the last of them.
  const RowLayout key_rows = keys_seen(rows, sets.cols());
  RowLayout last_rows;
  for (const Segment& keys : key_rows.segments) last_rows.append(1, keys.rows - 1);
  const Tensor keys =
      allocate(key_rows.total, format.width, gathered_type(format, queries.tensor.dtype()));
  {
    const Operation operation(*this, Component::sparse_attention);
    const cuda::DeviceRows& places = layouts_.get(last_rows, key_rows);
    INDEXCACHE_CUDA(kernels::gather_pages({.pages = pages,
                                           .sets = sets.data<std::int32_t>(),
                                           .sets_stride = sets.stride(),
                                           .places = places.places,
                                           .rows = static_cast<int>(rows.total),
                                           .most_keys = places.most_keys,
                                           .out = keys.data<void>(),
                                           .type = kernel_type(keys.dtype()),
                                           .scales = nullptr},
                                          stream_.get()));
  }
  sparse_attention(last_rows, queries, key_rows, keys, keys.columns(0, out.width), Tensor(), scale,
                   out, sinks);
}

void CudaBackend::paged_attention(const RowLayout& rows, const Heads& queries, const Tensor& tables,
                                  const PagedCache& cache, const Tensor& sets, float scale,
                                  const Heads& out, const Tensor& sinks) {
  if (rows.total == 0) return;
  const kernels::Pages pages = pages_in(cache, tables);
  const std::int64_t parts = kernels::decode_parts(static_cast<int>(sets.cols()));
  kernels::DecodeAttentionParams params{
      .queries = queries.tensor.data<void>(),
      .query_stride = queries.tensor.stride(),
      .query_head_stride = queries.stride,
      .pages = pages,
      .sets = sets.data<std::int32_t>(),
      .sets_stride = sets.stride(),
      .k = static_cast<int>(sets.cols()),
      .places =
          layouts_.get(rows, keys_seen(rows, std::numeric_limits<std::int64_t>::max())).places,
      .mixed = nullptr,
      .peaks = nullptr,
      .sums = nullptr,
      .out = out.tensor.data<void>(),
      .out_stride = out.tensor.stride(),
      .out_head_stride = out.stride,
      .rows = static_cast<int>(rows.total),
      .heads = static_cast<int>(queries.count),
      .key_width = static_cast<int>(cache.format.width),
      .value_width = static_cast<int>(out.width),
      .scale = scale,
      .sinks = sinks.data<float>()};
  if (queries.tensor.dtype() != DType::bf16 || !kernels::decode_attention_applies(params)) {
    return attend_gathered(rows, queries, pages, cache.format, sets, scale, out, sinks);
  }
  const Operation operation(*this, Component::sparse_attention);
  const std::int64_t heads = rows.total * parts * queries.count;
  const Tensor mixed = allocate(heads, out.width), peaks = allocate(heads, 1);
  const Tensor sums = allocate(heads, 1);
  params.mixed = mixed.data<float>();
  params.peaks = peaks.data<float>();
  params.sums = sums.data<float>();
  INDEXCACHE_CUDA(kernels::decode_attention(params, stream_.get()));
}

}  // namespace indexcache
