// SPDX-License-Identifier: Apache-2.0
// Products through kernels::grouped_gemm: FP8 weights, which no other product takes, and all large
// experts of a layer in one launch.
#include "backend/cuda/cuda_backend.h"

#include <algorithm>

namespace indexcache {

using cuda::kernel_type;

namespace {

// Without addresses. The groups' weights have one shape and type.
kernels::GroupedGemmParams params_of(std::span<const Tensor> weights) {
  const Tensor& weight = weights.front();
  kernels::GroupedGemmParams params{};
  params.type = kernel_type(weight.dtype());
  params.x_stride = params.depth = static_cast<int>(weight.cols());
  params.groups = static_cast<int>(std::ssize(weights));
  params.cols = static_cast<int>(weight.rows());
  params.out_type = kernels::Type::bf16;
  params.out_stride = weight.rows();
  return params;
}

}  // namespace

CudaBackend::Operand CudaBackend::allocate_quantized(std::int64_t rows, std::int64_t width) {
  return {allocate(rows, width, DType::f8_e4m3), allocate(rows, scale_blocks(width), DType::f32)};
}

CudaBackend::Operand CudaBackend::quantized(const Tensor& x, kernels::BlockQuantizeParams params) {
  params.rows = x.rows();
  params.width = params.gated ? x.cols() / 2 : x.cols();
  params.x = x.data<void>();
  params.type = kernel_type(x.dtype());
  params.x_stride = x.stride();
  Operand operand = allocate_quantized(params.rows, params.width);
  params.out = operand.values.data<void>();
  params.scales = operand.scales.data<float>();
  INDEXCACHE_CUDA(kernels::block_quantize(params, stream_.get()));
  return operand;
}

CudaBackend::Operand CudaBackend::operand_for(const Tensor& weight, const LinearInput& x) {
  if (weight.dtype() != DType::f8_e4m3) return {x.plain, {}};
  if (!x.quantized.empty()) return {x.quantized, x.scales};
  return quantized(x.plain, {});
}

CudaBackend::Operand CudaBackend::gated_operand_for(const Tensor& weight, const Tensor& gate_up,
                                                    float limit) {
  if (weight.dtype() == DType::f8_e4m3) {
    kernels::BlockQuantizeParams params{};
    params.gated = true;
    params.limit = limit;
    return quantized(gate_up, params);
  }
  Operand operand{allocate(gate_up.rows(), gate_up.cols() / 2, gate_up.dtype()), {}};
  swiglu(gate_up, operand.values, limit);
  return operand;
}

void CudaBackend::multiply_groups(const Operand& x, std::span<const Tensor> weights,
                                  const Tensor& counts, const Tensor& out, Store store) {
  kernels::GroupedGemmParams params = params_of(weights);
  params.accumulate = store == Store::accumulate;
  multiply_groups(x, weights, counts, out, params);
}

void CudaBackend::multiply_gated_groups(const Operand& x, std::span<const Tensor> weights,
                                        const Tensor& counts, const Tensor& out, float limit) {
  kernels::GroupedGemmParams params = params_of(weights);
  params.gated = true;
  params.limit = limit;
  multiply_groups(x, weights, counts, out, params);
}

void CudaBackend::multiply_groups(const Operand& x, std::span<const Tensor> weights,
                                  const Tensor& counts, const Tensor& out,
                                  kernels::GroupedGemmParams params) {
  if (out.rows() == 0) return;
  const Tensor scratch = allocate(1, kernels::grouped_gemm_scratch(params.groups), DType::i32);
  params.x = x.values.data<void>();
  params.x_stride = x.values.stride();
  params.x_scales = x.scales.data<float>();
  params.weights = tables_.get(weights);
  params.counts = counts.data<std::int32_t>();
  params.slots = out.rows();
  params.out = out.data<void>();
  params.out_type = kernel_type(out.dtype());
  params.out_stride = out.stride();
  params.scratch = scratch.data<std::int32_t>();
  INDEXCACHE_CUDA(kernels::grouped_gemm(params, stream_.get()));
}

std::int64_t CudaBackend::table_bytes(const ModelShape& shape) const {
  if (activation() != DType::bf16) return 0;
  constexpr std::int64_t kProducts = 16;  // of a layer, by themselves
  const std::int64_t groups = std::max<std::int64_t>(shape.routed_experts, 1);  // of a launch
  return shape.layers * (2 * shape.routed_experts + kProducts) *
             static_cast<std::int64_t>(sizeof(kernels::GroupedWeight)) +
         4 * kernels::grouped_gemm_scratch(groups);
}

}  // namespace indexcache
