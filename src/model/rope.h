// SPDX-License-Identifier: Apache-2.0
// Cosines and sines of rotary positions, plain or YaRN.
#pragma once

#include "model/config.h"

#include <cstdint>
#include <vector>

namespace indexcache {

// [positions, dr / 2], row-major. YaRN's cos/sin multiplier is included.
struct RopeTable {
  std::vector<float> cosines;
  std::vector<float> sines;
};

RopeTable make_rope_table(const ModelConfig& config, std::int64_t positions);
// That of layers with entries, if attention is compressed.
RopeTable make_entry_rope_table(const ModelConfig& config, std::int64_t positions);

}  // namespace indexcache
