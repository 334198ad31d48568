// SPDX-License-Identifier: Apache-2.0
// Deterministic selection of the k highest scores of a row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace indexcache::cpu {

// Writes the positions of the k highest scores to out[0..k), ascending. The order is total: higher
// score first, then lower position; -0 equals +0. Requires k <= scores.size() and no NaN.
// `workspace` is reused between calls.
void select_top_k(std::span<const float> scores, std::int64_t k,
                  std::vector<std::uint32_t>& workspace, std::int32_t* out);

}  // namespace indexcache::cpu
