// SPDX-License-Identifier: Apache-2.0
// FP8 matrices as float32, in host memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace indexcache {

// E4M3 numbers [n, cols], each times the scale of its block; no scales: the numbers themselves.
std::vector<float> widened_fp8(std::span<const std::uint8_t> codes, std::int64_t cols,
                               std::span<const float> scales);

}  // namespace indexcache
