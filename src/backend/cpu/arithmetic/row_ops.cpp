// SPDX-License-Identifier: Apache-2.0
// Operations on rows by themselves: embedding, norms, RoPE, matrix products, the gated MLP.
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/arithmetic/matrix.h"
#include "backend/cpu/arithmetic/product.h"
#include "backend/cpu/arithmetic/simd.h"
#include "backend/cpu/tiles.h"

#include <cmath>

namespace indexcache::cpu {

namespace {

// Rows a matrix product takes at once: enough to pay for packing the weight, few enough that the
// tiles of one sequence keep several threads busy.
constexpr std::int64_t kProductRows = 128;
constexpr std::int64_t kVectorRows = 64;

struct GateUp;

void rotate(const float* x, const float* cosines, const float* sines, std::int64_t pairs,
            RopeLayout layout, float* out) {
  const std::int64_t step = layout == RopeLayout::interleaved ? 2 : 1;
  const std::int64_t partner = layout == RopeLayout::interleaved ? 1 : pairs;
  for (std::int64_t j = 0; j < pairs; ++j) {
    const float u = x[j * step];
    const float v = x[j * step + partner];
    out[j * step] = u * cosines[j] - v * sines[j];
    out[j * step + partner] = u * sines[j] + v * cosines[j];
  }
}

}  // namespace

void swiglu(MatrixMap& gate_up, float limit) {
  const std::int64_t width = gate_up.cols() / 2;
  for (std::int64_t row = 0; row < gate_up.rows(); ++row) {
    ArrayMap gate(gate_up.data() + row * gate_up.outerStride(), width);
    ArrayMap up(gate.data() + width, width);
    if (limit < kNoLimit) {
      gate = gate.min(limit);
      up = up.max(-limit).min(limit);
    }
    gate = gate / (1.0f + (-gate).exp()) * up;
  }
}

void rms_norm(int threads, const RowLayout& rows, const Tensor& x, const Tensor& weight, float eps,
              const Tensor& out) {
  const std::int64_t n = x.cols();
  const float* scale = weight.data<float>();
  for_each_tile(threads, rows, kVectorRows, [&](const Tile& tile) {
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      const float* in = row_of(x, row);
      float* result = row_of(out, row);
      const float mean_square = dot(in, in, n) / static_cast<float>(n);
      const float factor = 1.0f / std::sqrt(mean_square + eps);
      for (std::int64_t i = 0; i < n; ++i) result[i] = scale[i] * (in[i] * factor);
    }
  });
}

void layer_norm(int threads, const RowLayout& rows, const Tensor& x, const Tensor& weight,
                const Tensor& bias, float eps, const Tensor& out) {
  const std::int64_t n = x.cols();
  const float* scale = weight.data<float>();
  const float* shift = bias.data<float>();
  for_each_tile(threads, rows, kVectorRows, [&](const Tile& tile) {
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      const float* in = row_of(x, row);
      float* result = row_of(out, row);
      const float mean = sum(in, n) / static_cast<float>(n);
      for (std::int64_t i = 0; i < n; ++i) result[i] = in[i] - mean;
      const float variance = dot(result, result, n) / static_cast<float>(n);
      const float factor = 1.0f / std::sqrt(variance + eps);
      for (std::int64_t i = 0; i < n; ++i) result[i] = scale[i] * (result[i] * factor) + shift[i];
    }
  });
}

void linear(int threads, const RowLayout& rows, const Tensor& x, const Tensor& weight,
            const Tensor& out, Store store) {
  for_each_tile(threads, rows, kProductRows, [&](const Tile& tile) {
    auto result = block(out, tile.first_row, tile.rows);
    product(block(x, tile.first_row, tile.rows), weight, store, result);
  });
}

void head_linear(int threads, const RowLayout& rows, const Heads& x, const Tensor& weight,
                 const Heads& out) {
  for_each_tile(threads, rows, kProductRows, [&](const Tile& tile) {
    for (std::int64_t head = 0; head < x.count; ++head) {
      const auto in = x.tensor.columns(head * x.stride, x.width);
      const auto target = out.tensor.columns(head * out.stride, out.width);
      const auto matrix = block(weight, head * out.width, out.width);
      block(target, tile.first_row, tile.rows).noalias() =
          block(in, tile.first_row, tile.rows) * matrix.transpose();
    }
  });
}

void expand_heads(int threads, const RowLayout& rows, const Tensor& x, const Tensor& weight,
                  const Heads& out) {
  for_each_tile(threads, rows, kProductRows, [&](const Tile& tile) {
    for (std::int64_t head = 0; head < out.count; ++head) {
      const auto target = out.tensor.columns(head * out.stride, out.width);
      block(target, tile.first_row, tile.rows).noalias() =
          block(x, tile.first_row, tile.rows) * block(weight, head * x.cols(), x.cols());
    }
  });
}

void rope(int threads, const RowLayout& rows, const Heads& x, const Tensor& cosines,
          const Tensor& sines, RopeLayout layout, const Heads& out) {
  for_each_tile(threads, rows, kVectorRows, [&](const Tile& tile) {
    for (std::int64_t row = 0; row < tile.rows; ++row) {
      const float* c = row_of(cosines, tile.position(row));
      const float* s = row_of(sines, tile.position(row));
      for (std::int64_t head = 0; head < x.count; ++head) {
        rotate(row_of(x.tensor, tile.first_row + row) + head * x.stride, c, s, x.width / 2, layout,
               row_of(out.tensor, tile.first_row + row) + head * out.stride);
      }
    }
  });
}

void sigmoid_gate(int threads, const RowLayout& rows, const Heads& gates, const Heads& values) {
  for_each_tile(threads, rows, kVectorRows, [&](const Tile& tile) {
    for (std::int64_t row = tile.first_row; row < tile.first_row + tile.rows; ++row) {
      for (std::int64_t head = 0; head < values.count; ++head) {
        const float* gate = row_of(gates.tensor, row) + head * gates.stride;
        float* value = row_of(values.tensor, row) + head * values.stride;
        // Not an Eigen array: the address of a row would decide which elements are vectorized.
        for (std::int64_t i = 0; i < values.width; ++i) value[i] /= 1.0f + std::exp(-gate[i]);
      }
    }
  });
}

void gated_mlp(int threads, const RowLayout& rows, const Tensor& x, const Tensor& gate_up,
               const Tensor& down, const Tensor& out, float limit) {
  for_each_tile(threads, rows, kProductRows, [&](const Tile& tile) {
    auto hidden = scratch<GateUp>(tile.rows, gate_up.rows());
    product(block(x, tile.first_row, tile.rows), gate_up, Store::assign, hidden);
    swiglu(hidden, limit);
    auto result = block(out, tile.first_row, tile.rows);
    product(left_half(hidden), down, Store::accumulate, result);
  });
}

}  // namespace indexcache::cpu
