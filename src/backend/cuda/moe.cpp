// SPDX-License-Identifier: Apache-2.0
// Routing and the routed experts: rows grouped by expert, one product per expert, rows put back.
#include "backend/cuda/cuda_backend.h"
#include "kernels/architecture.h"
#include "kernels/expert_gemm.h"
#include "kernels/permute.h"
#include "kernels/route.h"

#include <cstring>

namespace indexcache {

using cuda::kernel_type;

namespace {

static_assert(kMostSmallExperts == kernels::kMostGroupedExperts);

// Only products of groups take FP8. If one of the matrices is FP8, widths are multiples of 16
// (model/block_fp8.h), and they take the other one as well.
bool has_fp8(const ExpertWeights& weights) {
  return weights.gate_up.front().dtype() == DType::f8_e4m3 ||
         weights.down.front().dtype() == DType::f8_e4m3;
}

kernels::RouterScore kernel_score(RouterScore score) {
  return score == RouterScore::sigmoid ? kernels::RouterScore::sigmoid
                                       : kernels::RouterScore::sqrt_softplus;
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
                                  .scale = rule.scale,
                                  .excluded = rule.excluded,
                                  .score = kernel_score(rule.score)},
                                 stream_.get()));
  return routing;
}

Routing CudaBackend::weigh_experts(const RowLayout& rows, const Tensor& logits,
                                   const Tensor& experts, const RouterRule& rule) {
  const Operation operation(*this, Component::experts);
  Routing routing{experts, allocate(rows.total, experts.cols(), DType::f32)};
  INDEXCACHE_CUDA(kernels::weigh_experts({.logits = logits.data<float>(),
                                          .chosen = experts.data<std::int32_t>(),
                                          .weights = routing.weights.data<float>(),
                                          .rows = rows.total,
                                          .experts = static_cast<int>(logits.cols()),
                                          .experts_used = static_cast<int>(experts.cols()),
                                          .normalize = rule.normalize,
                                          .scale = rule.scale,
                                          .score = kernel_score(rule.score)},
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

void CudaBackend::run_small_experts(const Tensor& x, const std::vector<Tensor>& weights,
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

CudaBackend::ExpertSlots CudaBackend::slots_of(const Routing& routing, std::int64_t experts) {
  const std::int64_t rows = routing.experts.rows(), used = routing.experts.cols();
  ExpertSlots slots{allocate(1, experts, DType::i32), allocate(rows, used, DType::i32)};
  const Tensor run_slots = allocate(kernels::permute_runs(rows), experts, DType::i32);
  INDEXCACHE_CUDA(kernels::permute({.chosen = routing.experts.data<std::int32_t>(),
                                    .rows = rows,
                                    .used = static_cast<int>(used),
                                    .experts = static_cast<int>(experts),
                                    .counts = slots.counts.data<std::int32_t>(),
                                    .slot_of = slots.slot_of.data<std::int32_t>(),
                                    .run_slots = run_slots.data<std::int32_t>()},
                                   stream_.get()));
  return slots;
}

CudaBackend::Operand CudaBackend::in_slots(const Operand& x, const ExpertSlots& slots) {
  Operand out;
  kernels::ScatterParams params{};
  params.slot_of = slots.slot_of.data<std::int32_t>();
  params.rows = x.values.rows();
  params.used = static_cast<int>(slots.slot_of.cols());
  const auto add = [&](const Tensor& from) {
    Tensor to = allocate(slots.total(), from.cols(), from.dtype());
    const auto bytes = static_cast<std::int64_t>(size_of(from.dtype()));
    params.rows_of[params.matrices++] = {from.data<void>(), from.stride() * bytes, to.data<void>(),
                                         from.cols() * bytes};
    return to;
  };
  out.values = add(x.values);
  if (!x.scales.empty()) out.scales = add(x.scales);
  INDEXCACHE_CUDA(kernels::scatter(params, stream_.get()));
  return out;
}

Tensor CudaBackend::single_experts(const Tensor& x, const ExpertSlots& slots,
                                   const ExpertWeights& weights, ExpertProducts products,
                                   float limit) {
  const std::int64_t count = slots.total(), width = weights.down.front().cols();
  const Tensor rows = in_slots({x, {}}, slots).values;
  std::vector<std::int32_t> sizes;
  if (products == ExpertProducts::single) sizes = expert_counts(slots.counts);
  const auto multiply_all = [&](const Tensor& in, const std::vector<Tensor>& matrices,
                                const Tensor& result) {
    if (products == ExpertProducts::small) {
      run_small_experts(in, matrices, slots.counts, result);
    } else {
      run_experts(in, matrices, sizes, result);
    }
  };
  const Tensor both = allocate(count, 2 * width, x.dtype());
  multiply_all(rows, weights.gate_up, both);
  const Tensor middle = allocate(count, width, x.dtype());
  swiglu(both, middle, limit);
  Tensor results = allocate(count, x.cols(), x.dtype());
  multiply_all(middle, weights.down, results);
  return results;
}

// The kernel finds the slots of an expert itself, and the host need not know how many there are.
Tensor CudaBackend::grouped_experts(const LinearInput& x, const ExpertSlots& slots,
                                    const ExpertWeights& weights, float limit) {
  const std::int64_t count = slots.total();
  const DType type = x.plain.dtype();
  const Tensor &gate_up = weights.gate_up.front(), &down = weights.down.front();
  const auto rows = [&] { return in_slots(operand_for(gate_up, x), slots); };
  Operand middle;
  if (has_fp8(weights)) {
    const Tensor both = allocate(count, gate_up.rows(), type);
    multiply_groups(rows(), weights.gate_up, slots.counts, both, Store::assign);
    middle = gated_operand_for(down, both, limit);
  } else {
    middle.values = allocate(count, gate_up.rows() / 2, type);
    multiply_gated_groups(rows(), weights.gate_up, slots.counts, middle.values, limit);
  }
  Tensor results = allocate(count, x.plain.cols(), type);
  multiply_groups(middle, weights.down, slots.counts, results, Store::assign);
  return results;
}

void CudaBackend::experts(const RowLayout& rows, const LinearInput& in, const Routing& routing,
                          const ExpertWeights& weights, const Tensor& out, float limit) {
  if (rows.total == 0) return;
  const Operation operation(*this, Component::experts);
  const Tensor& x = in.plain;
  const auto experts = static_cast<std::int64_t>(weights.down.size());
  const std::int64_t used = routing.experts.cols();
  const ExpertSlots slots = slots_of(routing, experts);
  const ExpertProducts products =
      has_fp8(weights) ? ExpertProducts::groups
                       : products_of_experts({experts, x.cols(), weights.down.front().cols()},
                                             activation(), kernels::has_warpgroups());
  const Tensor results = products == ExpertProducts::groups
                             ? grouped_experts(in, slots, weights, limit)
                             : single_experts(x, slots, weights, products, limit);
  INDEXCACHE_CUDA(kernels::combine({.y = results.data<void>(),
                                    .type = kernel_type(results.dtype()),
                                    .slot_of = slots.slot_of.data<std::int32_t>(),
                                    .weights = routing.weights.data<float>(),
                                    .out = out.data<float>(),
                                    .out_stride = out.stride(),
                                    .rows = rows.total,
                                    .width = x.cols(),
                                    .used = static_cast<int>(used)},
                                   stream_.get()));
}

}  // namespace indexcache
