// SPDX-License-Identifier: Apache-2.0
// What trains an indexer: its target, its loss with the gradients, and the optimizer. Only
// squared_norms() waits for the device.
#include "backend/cuda/cuda_backend.h"
#include "backend/row_chunks.h"
#include "kernels/adam.h"
#include "kernels/convert.h"
#include "kernels/distill_rows.h"
#include "kernels/gather_index.h"
#include "kernels/index_backward.h"
#include "kernels/indexer_logits.h"
#include "kernels/layer_norm_backward.h"
#include "kernels/linear_backward.h"
#include "kernels/mean_attention.h"

#include <algorithm>
#include <cmath>

namespace indexcache {

using cuda::kernel_type;

// What a chunk of rows has of the operands of distill_indexer(), and its scratch.
struct CudaBackend::DistillPart {
  const cuda::DeviceRows& places;
  IndexScores scores;
  Tensor sets;
  IndexTarget target;
  float row_weight;
  IndexGradients gradients;
  Tensor divergences;
  Tensor logits;  // scores, which become their gradients in place
};

void CudaBackend::mean_attention(const RowLayout& rows, const Heads& queries,
                                 const RowLayout& key_rows, const Tensor& keys, const Tensor& sets,
                                 float scale, float weight, const Tensor& sums) {
  if (rows.total == 0) return;
  const Operation operation(*this, Component::other);
  // All causal pairs need one number per row and head; sets their logits, so that rows are cut.
  const std::int64_t row_floats = queries.count * (sets.empty() ? 1 : sets.cols());
  const std::vector<RowChunk> chunks = row_chunks(rows, logits_chunk() / (4 * row_floats));
  const Tensor scratch = allocate(largest_rows(chunks), row_floats, DType::f32);
  for (const RowChunk& chunk : chunks) {
    const cuda::DeviceRows& places = layouts_.get(chunk.rows, key_rows);
    const Tensor q = chunk.of(queries.tensor), selected = chunk.of(sets), out = chunk.of(sums);
    INDEXCACHE_CUDA(kernels::mean_attention({.queries = q.data<void>(),
                                             .type = kernel_type(keys.dtype()),
                                             .query_stride = q.stride(),
                                             .query_head_stride = queries.stride,
                                             .keys = keys.data<void>(),
                                             .key_stride = keys.stride(),
                                             .sets = selected.data<std::int32_t>(),
                                             .sets_stride = selected.stride(),
                                             .k = static_cast<int>(selected.cols()),
                                             .places = places.places,
                                             .segments = places.segments,
                                             .segment_count = places.segment_count,
                                             .most_rows = places.most_rows,
                                             .most_keys = places.most_keys,
                                             .rows = chunk.rows.total,
                                             .heads = static_cast<int>(queries.count),
                                             .width = static_cast<int>(queries.width),
                                             .scale = scale,
                                             .weight = weight,
                                             .sums = out.data<float>(),
                                             .sums_stride = out.stride(),
                                             .scratch = scratch.data<float>()},
                                            stream_.get()));
  }
}

void CudaBackend::distill_rows(const DistillPart& part, float gradient_scale) {
  INDEXCACHE_CUDA(kernels::distill_rows({.scores = part.logits.data<float>(),
                                         .stride = part.logits.stride(),
                                         .targets = part.target.sums.data<float>(),
                                         .target_stride = part.target.sums.stride(),
                                         .places = part.places.places,
                                         .divergences = part.divergences.data<float>(),
                                         .rows = part.divergences.rows(),
                                         .k = static_cast<int>(part.sets.cols()),
                                         .score_scale = part.scores.scale,
                                         .target_scale = part.target.scale,
                                         .gradient_scale = gradient_scale},
                                        stream_.get()));
}

// A bf16 operand as float32, for shapes that tensor cores do not take.
Tensor CudaBackend::widened(const Tensor& x) {
  Tensor out = allocate(x.rows(), x.cols(), DType::f32);
  INDEXCACHE_CUDA(kernels::convert({.x = x.data<void>(),
                                    .x_type = kernel_type(x.dtype()),
                                    .scales = nullptr,
                                    .block_rows = 0,
                                    .block_cols = 0,
                                    .out = out.data<void>(),
                                    .out_type = kernels::Type::f32,
                                    .rows = x.rows(),
                                    .cols = x.cols(),
                                    .head_rows = x.rows(),
                                    .first = 0,
                                    .count = x.rows(),
                                    .transposed = false,
                                    .not_finite = nullptr},
                                   stream_.get()));
  return out;
}

// Chunks add to the gradients of keys one after the other.
void CudaBackend::distill_pairs(const DistillPart& part) {
  const IndexScores& scores = part.scores;
  const kernels::Type type = kernel_type(scores.keys.dtype());
  const auto heads = static_cast<int>(scores.head_weights.cols());
  const auto width = static_cast<int>(scores.keys.cols());
  {
    const Operation operation(*this, Component::indexer_logits);
    INDEXCACHE_CUDA(kernels::indexer_logits({.queries = scores.queries.data<void>(),
                                             .keys = scores.keys.data<void>(),
                                             .type = type,
                                             .head_weights = scores.head_weights.data<float>(),
                                             .key_scales = nullptr,
                                             .logits = part.logits.data<float>(),
                                             .logits_stride = part.logits.stride(),
                                             .segments = part.places.segments,
                                             .segment_count = part.places.segment_count,
                                             .most_rows = part.places.most_rows,
                                             .most_keys = part.places.most_keys,
                                             .heads = heads,
                                             .width = width},
                                            stream_.get()));
  }
  const Operation operation(*this, Component::other);
  distill_rows(part, part.row_weight * scores.scale);
  INDEXCACHE_CUDA(
      kernels::index_backward({.queries = scores.queries.data<void>(),
                               .keys = scores.keys.data<void>(),
                               .type = type,
                               .head_weights = scores.head_weights.data<float>(),
                               .score_gradients = part.logits.data<float>(),
                               .stride = part.logits.stride(),
                               .segments = part.places.segments,
                               .segment_count = part.places.segment_count,
                               .most_rows = part.places.most_rows,
                               .most_keys = part.places.most_keys,
                               .heads = heads,
                               .width = width,
                               .d_queries = part.gradients.queries.data<float>(),
                               .d_head_weights = part.gradients.head_weights.data<float>(),
                               .d_keys = part.gradients.keys.data<float>()},
                              stream_.get()));
}

// The same over sets. Gradients of scores stay without row_weight and scale, so that what the fixed
// point of the keys' gradients can hold does not depend on them.
void CudaBackend::distill_sets(const DistillPart& part, const Tensor& key_sums) {
  const IndexScores& scores = part.scores;
  const kernels::GatherIndexParams params{
      .queries = scores.queries.data<void>(),
      .keys = scores.keys.data<void>(),
      .type = kernel_type(scores.keys.dtype()),
      .head_weights = scores.head_weights.data<float>(),
      .sets = part.sets.data<std::int32_t>(),
      .sets_stride = part.sets.stride(),
      .k = static_cast<int>(part.sets.cols()),
      .places = part.places.places,
      .rows = part.divergences.rows(),
      .heads = static_cast<int>(scores.head_weights.cols()),
      .width = static_cast<int>(scores.keys.cols()),
      .scores = part.logits.data<float>(),
      .stride = part.logits.stride(),
      .factor = part.row_weight * scores.scale,
      .d_queries = part.gradients.queries.data<float>(),
      .d_head_weights = part.gradients.head_weights.data<float>(),
      .key_sums = key_sums.data<long long>()};
  {
    const Operation operation(*this, Component::indexer_logits);
    INDEXCACHE_CUDA(kernels::gather_index_scores(params, stream_.get()));
  }
  const Operation operation(*this, Component::other);
  distill_rows(part, 1.0f);
  INDEXCACHE_CUDA(kernels::gather_index_backward(params, stream_.get()));
}

void CudaBackend::distill_indexer(const RowLayout& rows, const IndexScores& scores,
                                  const RowLayout& key_rows, const Tensor& sets,
                                  const IndexTarget& target, float row_weight,
                                  const IndexGradients& gradients, const Tensor& divergences) {
  if (rows.total == 0) return;
  cuda::make_current(device_);
  Tensor queries = scores.queries, keys = scores.keys, key_sums;
  std::int64_t stride = sets.cols();
  if (sets.empty()) {
    const std::int64_t longest = std::max(layouts_.get(rows, key_rows).most_keys, 1);
    stride = (longest + kernels::kDistillTile - 1) / kernels::kDistillTile * kernels::kDistillTile;
    const kernels::Type type = kernel_type(keys.dtype());
    if (type != kernels::Type::f32 &&
        !kernels::index_backward_mma_applies(type, static_cast<int>(keys.cols()))) {
      queries = widened(queries);
      keys = widened(keys);
    }
  } else {
    key_sums = allocate(keys.rows(), keys.cols(), DType::i64);
    fill_zero(key_sums);
  }
  const std::vector<RowChunk> chunks = row_chunks(rows, logits_chunk() / (4 * stride));
  const Tensor logits = allocate(largest_rows(chunks), stride, DType::f32);
  for (const RowChunk& chunk : chunks) {
    const DistillPart part{
        layouts_.get(chunk.rows, key_rows),
        {chunk.of(queries), chunk.of(scores.head_weights), keys, scores.scale},
        chunk.of(sets),
        {chunk.of(target.sums), target.scale},
        row_weight,
        {chunk.of(gradients.queries), chunk.of(gradients.head_weights), gradients.keys},
        chunk.of(divergences),
        logits};
    if (sets.empty()) {
      distill_pairs(part);
    } else {
      distill_sets(part, key_sums);
    }
  }
  if (sets.empty()) return;
  const Operation operation(*this, Component::other);
  INDEXCACHE_CUDA(kernels::add_key_sums({.key_sums = key_sums.data<long long>(),
                                         .d_keys = gradients.keys.data<float>(),
                                         .factor = row_weight * scores.scale,
                                         .elements = key_sums.rows() * key_sums.cols()},
                                        stream_.get()));
}

void CudaBackend::linear_backward(const RowLayout& rows, const Tensor& x, const Tensor& d_out,
                                  const Tensor& gradient) {
  if (rows.total == 0) return;
  const Operation operation(*this, Component::projections);
  const std::int64_t in = x.cols(), out = d_out.cols();
  const int splits = kernels::linear_backward_splits(rows.total, in, out);
  Tensor parts;
  if (splits > 1) parts = allocate(splits * out, in, DType::f32);
  INDEXCACHE_CUDA(kernels::linear_backward({.x = x.data<void>(),
                                            .x_type = kernel_type(x.dtype()),
                                            .x_stride = x.stride(),
                                            .d_out = d_out.data<float>(),
                                            .d_out_stride = d_out.stride(),
                                            .gradient = gradient.data<float>(),
                                            .gradient_stride = gradient.stride(),
                                            .rows = rows.total,
                                            .in = in,
                                            .out = out,
                                            .splits = splits,
                                            .parts = parts.data<float>()},
                                           stream_.get()));
}

void CudaBackend::layer_norm_backward(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                                      float eps, const Tensor& d_out, const Tensor& d_weight,
                                      const Tensor& d_bias) {
  if (rows.total == 0) return;
  const Operation operation(*this, Component::other);
  const std::int64_t blocks =
      (rows.total + kernels::kNormBackwardRows - 1) / kernels::kNormBackwardRows;
  const Tensor parts = allocate(blocks, 2 * x.cols(), DType::f32);
  INDEXCACHE_CUDA(kernels::layer_norm_backward({.x = x.data<void>(),
                                                .x_type = kernel_type(x.dtype()),
                                                .x_stride = x.stride(),
                                                .weight = weight.data<float>(),
                                                .eps = eps,
                                                .d_out = d_out.data<float>(),
                                                .d_out_stride = d_out.stride(),
                                                .d_weight = d_weight.data<float>(),
                                                .d_bias = d_bias.data<float>(),
                                                .parts = parts.data<float>(),
                                                .rows = rows.total,
                                                .width = static_cast<int>(x.cols())},
                                               stream_.get()));
}

void CudaBackend::add(const Tensor& x, const Tensor& out) {
  const Operation operation(*this, Component::other);
  INDEXCACHE_CUDA(kernels::add({.x = x.data<float>(),
                                .x_stride = x.stride(),
                                .out = out.data<float>(),
                                .out_stride = out.stride(),
                                .rows = out.rows(),
                                .cols = out.cols()},
                               stream_.get()));
}

void CudaBackend::fill_zero(const Tensor& tensor) {
  if (tensor.rows() == 0 || tensor.cols() == 0) return;
  const Operation operation(*this, Component::other);
  const std::size_t element = size_of(tensor.dtype());
  INDEXCACHE_CUDA(cudaMemset2DAsync(tensor.data<void>(),
                                    static_cast<std::size_t>(tensor.stride()) * element, 0,
                                    static_cast<std::size_t>(tensor.cols()) * element,
                                    static_cast<std::size_t>(tensor.rows()), stream_.get()));
}

void CudaBackend::convert(const Tensor& x, const Tensor& out) {
  const Operation operation(*this, Component::other);
  round(x, out);
}

std::vector<double> CudaBackend::squared_norms(const Tensor& x) {
  std::vector<double> norms(static_cast<std::size_t>(x.rows()));
  if (x.rows() == 0) return norms;
  const Operation operation(*this, Component::other);
  static_assert(sizeof(double) == size_of(DType::i64));
  const std::int64_t parts = (x.cols() + kernels::kNormPart - 1) / kernels::kNormPart;
  const Tensor scratch = allocate(x.rows(), parts, DType::i64);
  const Tensor sums = allocate(x.rows(), 1, DType::i64);
  INDEXCACHE_CUDA(kernels::squared_norms({.x = x.data<float>(),
                                          .stride = x.stride(),
                                          .rows = x.rows(),
                                          .n = x.cols(),
                                          .parts = scratch.data<double>(),
                                          .norms = sums.data<double>()},
                                         stream_.get()));
  download_raw(sums, norms.data());
  return norms;
}

void CudaBackend::adam(const AdamStep& step, const Tensor& gradients, const Tensor& mean,
                       const Tensor& variance, const Tensor& parameters) {
  if (parameters.rows() == 0) return;
  const Operation operation(*this, Component::other);
  const Tensor scales =
      upload_raw(step.scales.data(), parameters.rows(), 1, DType::f32, Memory::workspace);
  const auto correction = [&](float beta) {
    return static_cast<float>(1 - std::pow(double{beta}, static_cast<double>(step.step)));
  };
  INDEXCACHE_CUDA(kernels::adam({.gradients = gradients.data<float>(),
                                 .mean = mean.data<float>(),
                                 .variance = variance.data<float>(),
                                 .parameters = parameters.data<float>(),
                                 .scales = scales.data<float>(),
                                 .rows = parameters.rows(),
                                 .n = parameters.cols(),
                                 .rate = step.rate,
                                 .beta1 = step.beta1,
                                 .beta2 = step.beta2,
                                 .epsilon = step.epsilon,
                                 .mean_correction = correction(step.beta1),
                                 .variance_correction = correction(step.beta2)},
                                stream_.get()));
}

}  // namespace indexcache
