// SPDX-License-Identifier: Apache-2.0
#include "backend/widen_fp8.h"

#include "backend/scale_blocks.h"
#include "core/dtype.h"

namespace indexcache {

std::vector<float> widened_fp8(std::span<const std::uint8_t> codes, std::int64_t cols,
                               std::span<const float> scales) {
  std::vector<float> values;
  values.reserve(codes.size());
  const std::int64_t across = scale_blocks(cols);
  for (const std::uint8_t code : codes) {
    const auto at = static_cast<std::int64_t>(values.size());
    const std::int64_t block = at / cols / kScaleBlock * across + at % cols / kScaleBlock;
    const float scale = scales.empty() ? 1.0f : scales[static_cast<std::size_t>(block)];
    values.push_back(e4m3_to_float(code) * scale);
  }
  return values;
}

}  // namespace indexcache
