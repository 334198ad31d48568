// SPDX-License-Identifier: Apache-2.0
// What operations take per row on a device that gathers the rows of experts and multiplies in its
// activation type.
#include "backend/device.h"

#include <algorithm>

namespace indexcache {
namespace {

// Places of a row, for one of its experts, in the order of experts.
constexpr std::int64_t kPlaceBytes = 16;

}  // namespace

std::int64_t Device::linear_row_bytes(std::int64_t) const {
  return 0;
}

std::int64_t Device::attention_row_bytes(const ModelShape&) const {
  return 0;
}

// Gate, up, and their product.
std::int64_t Device::mlp_row_bytes(std::int64_t, std::int64_t middle) const {
  return static_cast<std::int64_t>(size_of(activation())) * 3 * middle;
}

// For every expert of the row its input, gate, up, their product and the result, and the places of
// rows in the order of experts.
std::int64_t Device::expert_row_bytes(const ModelShape& shape) const {
  const auto bytes = static_cast<std::int64_t>(size_of(activation()));
  return shape.experts_used *
         (kPlaceBytes + bytes * (2 * shape.hidden + 3 * shape.moe_intermediate));
}

// The input is gone when the result is made, as are gate and up, which are written only to be
// quantized. Quantized inputs and products are smaller than this says.
std::int64_t grouped_expert_row_bytes(const ModelShape& shape, bool fp8) {
  constexpr std::int64_t kBytes = 2;
  const std::int64_t hidden = shape.hidden, middle = shape.moe_intermediate;
  const std::int64_t most = fp8 ? std::max(hidden + 2 * middle, 3 * middle) : hidden + middle;
  return shape.experts_used * (kPlaceBytes + kBytes * most);
}

}  // namespace indexcache
