// SPDX-License-Identifier: Apache-2.0
// Operations on rows by themselves: lookups, norms, products, rotation, copies.
#include "backend/cuda/cuda_backend.h"
#include "kernels/copy_rows.h"
#include "kernels/embed.h"
#include "kernels/norm.h"
#include "kernels/pool_entries.h"
#include "kernels/rope.h"
#include "kernels/sigmoid_gate.h"
#include "kernels/swiglu.h"

namespace indexcache {

using cuda::kernel_type;

namespace {

kernels::NormParams norm_params(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                                float eps, const Tensor& out) {
  return {.x = x.data<void>(),
          .x_type = kernel_type(x.dtype()),
          .x_stride = x.stride(),
          .weight = weight.data<float>(),
          .bias = nullptr,
          .eps = eps,
          .out = out.data<void>(),
          .out_type = kernel_type(out.dtype()),
          .out_stride = out.stride(),
          .rows = rows.total,
          .width = x.cols()};
}

}  // namespace

void CudaBackend::embed(const Tensor& tokens, const Tensor& table, const Tensor& out) {
  const Operation operation(*this, Component::other);
  // f32 is copied bit by bit, and so are numbers of i32.
  INDEXCACHE_CUDA(kernels::embed({.tokens = tokens.data<std::int32_t>(),
                                  .table = table.data<void>(),
                                  .table_type = kernel_type(table.dtype()),
                                  .out = out.data<float>(),
                                  .out_stride = out.stride(),
                                  .rows = tokens.rows(),
                                  .width = table.cols()},
                                 stream_.get()));
}

void CudaBackend::rms_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
                           const Tensor& out) {
  const Operation operation(*this, Component::norms);
  INDEXCACHE_CUDA(kernels::norm(norm_params(rows, x, weight, eps, out), stream_.get()));
}

void CudaBackend::layer_norm(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                             const Tensor& bias, float eps, const Tensor& out) {
  const Operation operation(*this, Component::norms);
  kernels::NormParams params = norm_params(rows, x, weight, eps, out);
  params.bias = bias.data<float>();
  INDEXCACHE_CUDA(kernels::norm(params, stream_.get()));
}

void CudaBackend::multiply(const LinearInput& in, const Tensor& weight, const Tensor& out,
                           Store store, cudaStream_t stream, int side) {
  const Tensor& x = in.plain;
  if (x.rows() == 0) return;
  if (weight.dtype() == DType::f8_e4m3) {
    multiply_groups(operand_for(weight, in), std::span(&weight, 1), {}, out, store);
    return;
  }
  gemm_.run({.x = x.data<void>(),
             .weight = weight.data<void>(),
             .out = out.data<void>(),
             .rows = x.rows(),
             .cols = weight.rows(),
             .depth = weight.cols(),
             .x_stride = x.stride(),
             .out_stride = out.stride(),
             .type = weight.dtype(),
             .out_type = out.dtype(),
             .accumulate = store == Store::accumulate},
            stream, side);
}

LinearInput CudaBackend::normalized_input(const RowLayout& rows, const Tensor& x,
                                          const Tensor& weight, float eps, const Tensor& out) {
  if (!keeps_fp8()) return CudaDevice::normalized_input(rows, x, weight, eps, out);
  const Operation operation(*this, Component::norms);
  kernels::NormParams params = norm_params(rows, x, weight, eps, out);
  Operand operand = allocate_quantized(out.rows(), out.cols());
  params.quantized = operand.values.data<void>();
  params.scales = operand.scales.data<float>();
  INDEXCACHE_CUDA(kernels::norm(params, stream_.get()));
  return {out, std::move(operand.values), std::move(operand.scales)};
}

LinearInput CudaBackend::linear_input(const Tensor& x) {
  if (!keeps_fp8()) return x;
  const Operation operation(*this, Component::projections);
  Operand operand = quantized(x, {});
  return {x, std::move(operand.values), std::move(operand.scales)};
}

void CudaBackend::linear(const RowLayout&, const LinearInput& x, const Tensor& weight,
                         const Tensor& out, Store store) {
  const Operation operation(*this, Component::projections);
  multiply(x, weight, out, store, stream_.get(), 0);
}

void CudaBackend::head_linear(const RowLayout& rows, const Heads& x, const Tensor& weight,
                              const Heads& out) {
  const Operation operation(*this, Component::projections);
  gemm_.run({.x = x.tensor.data<void>(),
             .weight = weight.data<void>(),
             .out = out.tensor.data<void>(),
             .rows = rows.total,
             .cols = out.width,
             .depth = x.width,
             .x_stride = x.tensor.stride(),
             .out_stride = out.tensor.stride(),
             .heads = x.count,
             .x_head_stride = x.stride,
             .weight_head_stride = out.width * x.width,
             .out_head_stride = out.stride,
             .type = weight.dtype(),
             .out_type = out.tensor.dtype()},
            stream_.get());
}

void CudaBackend::expand_heads(const RowLayout& rows, const Tensor& x, const Tensor& weight,
                               const Heads& out) {
  const Operation operation(*this, Component::projections);
  gemm_.run({.x = x.data<void>(),
             .weight = weight.data<void>(),
             .out = out.tensor.data<void>(),
             .rows = rows.total,
             .cols = out.width,
             .depth = x.cols(),
             .x_stride = x.stride(),
             .out_stride = out.tensor.stride(),
             .heads = out.count,
             .weight_head_stride = out.width * x.cols(),
             .out_head_stride = out.stride,
             .type = weight.dtype(),
             .out_type = out.tensor.dtype(),
             .transposed_weight = true},
            stream_.get());
}

void CudaBackend::rope(const RowLayout& rows, const Heads& x, const Tensor& cosines,
                       const Tensor& sines, RopeLayout layout, const Heads& out) {
  const Operation operation(*this, Component::norms);
  INDEXCACHE_CUDA(kernels::rope({.x = x.tensor.data<void>(),
                                 .out = out.tensor.data<void>(),
                                 .type = kernel_type(x.tensor.dtype()),
                                 .x_stride = x.tensor.stride(),
                                 .x_head_stride = x.stride,
                                 .out_stride = out.tensor.stride(),
                                 .out_head_stride = out.stride,
                                 .places = layouts_.get(rows, rows).places,
                                 .cosines = cosines.data<float>(),
                                 .sines = sines.data<float>(),
                                 .rows = rows.total,
                                 .heads = x.count,
                                 .width = x.width,
                                 .interleaved = layout == RopeLayout::interleaved},
                                stream_.get()));
}

void CudaBackend::sigmoid_gate(const RowLayout& rows, const Heads& gates, const Heads& values) {
  const Operation operation(*this, Component::norms);
  INDEXCACHE_CUDA(kernels::sigmoid_gate({.gates = gates.tensor.data<void>(),
                                         .gate_stride = gates.tensor.stride(),
                                         .gate_head_stride = gates.stride,
                                         .values = values.tensor.data<void>(),
                                         .value_stride = values.tensor.stride(),
                                         .value_head_stride = values.stride,
                                         .type = kernel_type(values.tensor.dtype()),
                                         .rows = rows.total,
                                         .heads = values.count,
                                         .width = values.width},
                                        stream_.get()));
}

void CudaBackend::move_rows(const Tensor& x, const Tensor& out, const kernels::RowPlace* places,
                            std::int64_t rows, bool gather) {
  const auto element = static_cast<std::int64_t>(size_of(x.dtype()));
  INDEXCACHE_CUDA(kernels::copy_rows({.x = x.data<void>(),
                                      .out = out.data<void>(),
                                      .x_stride = x.stride() * element,
                                      .out_stride = out.stride() * element,
                                      .row_bytes = x.cols() * element,
                                      .places = places,
                                      .rows = rows,
                                      .gather = gather},
                                     stream_.get()));
}

void CudaBackend::pool_entries(const RowLayout& rows, const Tensor& x, const Tensor& bias,
                               const RowLayout& entry_rows, const Tensor& out) {
  const Operation operation(*this, Component::norms);
  INDEXCACHE_CUDA(kernels::pool_entries({.x = x.data<void>(),
                                         .type = kernel_type(x.dtype()),
                                         .x_stride = x.stride(),
                                         .bias = bias.data<float>(),
                                         .out = out.data<void>(),
                                         .out_type = kernel_type(out.dtype()),
                                         .out_stride = out.stride(),
                                         .places = layouts_.get(entry_rows, rows).places,
                                         .entries = entry_rows.total,
                                         .ratio = static_cast<int>(bias.rows()),
                                         .n = static_cast<int>(bias.cols()),
                                         .width = static_cast<int>(out.cols())},
                                        stream_.get()));
}

void CudaBackend::copy_rows(const RowLayout& from, const Tensor& x, const RowLayout& to,
                            const Tensor& out) {
  const Operation operation(*this, Component::key_writes);
  move_rows(x, out, layouts_.get(from, to).places, from.total, false);
}

void CudaBackend::gather_rows(const RowLayout& from, const Tensor& x, const RowLayout& to,
                              const Tensor& out) {
  const Operation operation(*this, Component::other);
  move_rows(x, out, layouts_.get(to, from).places, to.total, true);
}

void CudaBackend::swiglu(const Tensor& gate_up, const Tensor& out, float limit) {
  INDEXCACHE_CUDA(kernels::swiglu({.gate_up = gate_up.data<void>(),
                                   .out = out.data<void>(),
                                   .type = kernel_type(out.dtype()),
                                   .rows = out.rows(),
                                   .width = out.cols(),
                                   .limit = limit},
                                  stream_.get()));
}

void CudaBackend::gated_mlp(const RowLayout& rows, const LinearInput& x, const Tensor& gate_up,
                            const Tensor& down, const Tensor& out, float limit) {
  const Operation operation(*this, Component::experts);
  const Tensor both = allocate(rows.total, gate_up.rows(), x.plain.dtype());
  multiply(x, gate_up, both, Store::assign, stream_.get(), 0);
  if (down.dtype() == DType::f8_e4m3) {
    multiply_groups(gated_operand_for(down, both, limit), std::span(&down, 1), {}, out,
                    Store::accumulate);
    return;
  }
  const Tensor middle = allocate(rows.total, gate_up.rows() / 2, x.plain.dtype());
  swiglu(both, middle, limit);
  multiply(middle, down, out, Store::accumulate, stream_.get(), 0);
}

}  // namespace indexcache
