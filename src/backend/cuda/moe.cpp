// SPDX-License-Identifier: Apache-2.0
// Routing and the routed experts: rows grouped by expert, one product per expert, rows put back.
#include "backend/cuda/cuda_backend.h"
#include "kernels/expert_gemm.h"
#include "kernels/permute.h"
#include "kernels/route.h"

#include <cstring>

namespace indexcache {

using cuda::kernel_type;

namespace {

// Elements of an expert's matrix below which one launch for all experts beats one per expert.
constexpr std::int64_t kSmallExpert = std::int64_t{512} * 512;

// Decided only by the shape of the experts, so that a row has the same bits in any batch.
bool grouped(const ExpertWeights& weights) {
  const Tensor& gate_up = weights.gate_up.front();
  const Tensor& down = weights.down.front();
  const std::int64_t whole = 16 / static_cast<std::int64_t>(size_of(down.dtype()));
  return weights.down.size() <= kernels::kMostGroupedExperts &&
         gate_up.rows() * gate_up.cols() <= kSmallExpert && down.cols() % whole == 0 &&
         gate_up.cols() % whole == 0;
}

}  // namespace

Routing CudaBackend::route(const RowLayout& rows, const Tensor& logits, const Tensor& bias,
                           const RouterRule& rule) {
  const Operation operation(*this, Component::experts);
  Routing routing{allocate(rows.total, rule.experts_used, DType::i32),
                  allocate(rows.total, rule.experts_used, DType::f32)};
  INDEXCACHE_CUDA(kernels::route({.logits = logits.data<float>(),
                                  .bias = bias.data<float>(),
                                  .chosen = routing.experts.data<std::int32_t>(),
                                  .weights = routing.weights.data<float>(),
                                  .rows = rows.total,
                                  .experts = static_cast<int>(bias.cols()),
                                  .groups = static_cast<int>(rule.groups),
                                  .kept_groups = static_cast<int>(rule.kept_groups),
                                  .experts_used = static_cast<int>(rule.experts_used),
                                  .normalize = rule.normalize,
                                  .scale = rule.scale},
                                 stream_.get()));
  return routing;
}

// Waits for the device, because the host needs the sizes of the products.
std::vector<std::int32_t> CudaBackend::expert_counts(const Tensor& counts) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(counts.cols()));
  const std::size_t bytes = values.size() * sizeof(std::int32_t);
  void* pinned = pinned_.reserve(bytes);
  INDEXCACHE_CUDA(
      cudaMemcpyAsync(pinned, counts.data<void>(), bytes, cudaMemcpyDeviceToHost, stream_.get()));
  INDEXCACHE_CUDA(cudaStreamSynchronize(stream_.get()));
  std::memcpy(values.data(), pinned, bytes);
  return values;
}

// Consecutive rows of x times the matrix of their expert. Experts take turns on a few side
// streams, so that one fills the multiprocessors that the tail of another leaves idle.
void CudaBackend::run_experts(const Tensor& x, const std::vector<Tensor>& weights,
                              const std::vector<std::int32_t>& counts, const Tensor& out) {
  INDEXCACHE_CUDA(cudaEventRecord(forked_.get(), stream_.get()));
  for (const auto& side : side_streams_) {
    INDEXCACHE_CUDA(cudaStreamWaitEvent(side.get(), forked_.get()));
  }
  std::int64_t first = 0;
  std::size_t turn = 0;
  for (std::size_t e = 0; e < weights.size(); ++e) {
    if (counts[e] == 0) continue;
    const std::size_t side = turn++ % side_streams_.size();
    multiply(x.row_range(first, counts[e]), weights[e], out.row_range(first, counts[e]),
             Store::assign, side_streams_[side].get(), static_cast<int>(side));
    first += counts[e];
  }
  for (std::size_t side = 0; side < side_streams_.size(); ++side) {
    INDEXCACHE_CUDA(cudaEventRecord(side_done_[side].get(), side_streams_[side].get()));
    INDEXCACHE_CUDA(cudaStreamWaitEvent(stream_.get(), side_done_[side].get()));
  }
}

void CudaBackend::run_grouped_experts(const Tensor& x, const std::vector<Tensor>& weights,
                                      const Tensor& counts, const Tensor& out) {
  kernels::ExpertGemmParams params{.x = x.data<void>(),
                                   .weights = {},
                                   .out = out.data<void>(),
                                   .type = kernel_type(x.dtype()),
                                   .counts = counts.data<std::int32_t>(),
                                   .experts = static_cast<int>(weights.size()),
                                   .slots = x.rows(),
                                   .cols = static_cast<int>(out.cols()),
                                   .depth = static_cast<int>(x.cols())};
  for (std::size_t e = 0; e < weights.size(); ++e) params.weights[e] = weights[e].data<void>();
  INDEXCACHE_CUDA(kernels::expert_gemm(params, stream_.get()));
}

void CudaBackend::experts(const RowLayout& rows, const Tensor& x, const Routing& routing,
                          const ExpertWeights& weights, const Tensor& out) {
  if (rows.total == 0) return;
  const Operation operation(*this, Component::experts);
  const auto experts = static_cast<std::int64_t>(weights.down.size());
  const std::int64_t used = routing.experts.cols();
  const std::int64_t slots = rows.total * used;
  const Tensor counts = allocate(1, experts, DType::i32);
  const Tensor row_of_slot = allocate(1, slots, DType::i32);
  const Tensor slot_of = allocate(rows.total, used, DType::i32);
  INDEXCACHE_CUDA(kernels::permute({.chosen = routing.experts.data<std::int32_t>(),
                                    .rows = rows.total,
                                    .used = static_cast<int>(used),
                                    .experts = static_cast<int>(experts),
                                    .counts = counts.data<std::int32_t>(),
                                    .row_of_slot = row_of_slot.data<std::int32_t>(),
                                    .slot_of = slot_of.data<std::int32_t>()},
                                   stream_.get()));
  const Tensor gathered = allocate(slots, x.cols(), x.dtype());
  INDEXCACHE_CUDA(kernels::gather({.x = x.data<void>(),
                                   .x_stride = x.stride(),
                                   .row_of_slot = row_of_slot.data<std::int32_t>(),
                                   .out = gathered.data<void>(),
                                   .type = kernel_type(x.dtype()),
                                   .slots = slots,
                                   .width = x.cols()},
                                  stream_.get()));
  const bool one_launch = grouped(weights);
  std::vector<std::int32_t> sizes;
  if (!one_launch) sizes = expert_counts(counts);
  const auto multiply_all = [&](const Tensor& in, const std::vector<Tensor>& matrices,
                                const Tensor& result) {
    if (one_launch) {
      run_grouped_experts(in, matrices, counts, result);
    } else {
      run_experts(in, matrices, sizes, result);
    }
  };
  const std::int64_t width = weights.down.front().cols();
  const Tensor both = allocate(slots, 2 * width, x.dtype());
  multiply_all(gathered, weights.gate_up, both);
  const Tensor middle = allocate(slots, width, x.dtype());
  swiglu(both, middle);
  const Tensor results = allocate(slots, x.cols(), x.dtype());
  multiply_all(middle, weights.down, results);
  INDEXCACHE_CUDA(kernels::combine({.y = results.data<void>(),
                                    .type = kernel_type(results.dtype()),
                                    .slot_of = slot_of.data<std::int32_t>(),
                                    .weights = routing.weights.data<float>(),
                                    .out = out.data<float>(),
                                    .out_stride = out.stride(),
                                    .rows = rows.total,
                                    .width = x.cols(),
                                    .used = static_cast<int>(used)},
                                   stream_.get()));
}

}  // namespace indexcache
