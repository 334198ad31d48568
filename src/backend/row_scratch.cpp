// SPDX-License-Identifier: Apache-2.0
// What operations take on a device that keeps memory for logits, gathers the rows of experts and
// multiplies in its activation type.
#include "backend/device.h"
#include "backend/expert_products.h"

namespace indexcache {

std::int64_t Device::logits_bytes(const ModelShape&, std::int64_t, std::int64_t) const {
  return 0;
}

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
         (kExpertPlaceBytes + bytes * (2 * shape.hidden + 3 * shape.moe_intermediate));
}

}  // namespace indexcache
