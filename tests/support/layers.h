// SPDX-License-Identifier: Apache-2.0
// Configurations of which only the kinds of layers matter.
#pragma once

#include "model/config.h"

#include <cstddef>

namespace indexcache::test {

// So many layers that all have experts, or all a dense MLP.
inline ModelConfig of_layers(std::size_t layers, bool experts) {
  ModelConfig config{};
  config.layers = static_cast<std::int64_t>(layers);
  config.moe_layer.assign(layers, experts);
  return config;
}

}  // namespace indexcache::test
