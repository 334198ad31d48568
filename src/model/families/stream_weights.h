// SPDX-License-Identifier: Apache-2.0
// What families with residual streams have in common.
#pragma once

#include "model/config.h"
#include "model/weight_table.h"

#include <cstdint>
#include <string>

namespace indexcache {

inline constexpr std::int64_t kMostStreams = 64;
inline constexpr double kUsualStreamEps = 1e-6;

struct StreamRoles {
  WeightRole mixer, base, scale;
};

// Adds the weights of a sublayer or of the head: `outputs` rows of the mixer, in `parts` parts with
// a scale each. `name` without its ending: "hc_pre.hc_".
void add_streams(WeightTable& table, const ModelConfig& model, const std::string& name,
                 const StreamRoles& roles, std::int64_t outputs, std::int64_t parts);

}  // namespace indexcache
