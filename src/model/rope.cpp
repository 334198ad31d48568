// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace indexcache {
namespace {

// Frequencies f_j, j < dr / 2, in float32 as the references keep them.
std::vector<float> frequencies(const ModelConfig& config) {
  const std::int64_t dim = config.qk_rope_head_dim;
  std::vector<float> result;
  for (std::int64_t j = 0; j < dim / 2; ++j) {
    const double exponent = 2.0 * static_cast<double>(j) / static_cast<double>(dim);
    result.push_back(static_cast<float>(std::pow(config.rope_theta, -exponent)));
  }
  return result;
}

// Dimension at which a wave makes `rotations` turns within the original context.
double correction(const ModelConfig& config, double rotations) {
  const double turns = config.yarn->original_positions / (2 * std::numbers::pi * rotations);
  return static_cast<double>(config.qk_rope_head_dim) * std::log(turns) /
         (2 * std::log(config.rope_theta));
}

// Slow waves are divided by the factor, fast ones kept, with a linear ramp between.
void apply_yarn(const ModelConfig& config, std::vector<float>& f) {
  const double last = static_cast<double>(config.qk_rope_head_dim) - 1;
  const double low = std::max(std::floor(correction(config, config.yarn->beta_fast)), 0.0);
  double high = std::min(std::ceil(correction(config, config.yarn->beta_slow)), last);
  if (low == high) high += 0.001;
  for (std::size_t j = 0; j < f.size(); ++j) {
    const double ramp = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
    const double plain = f[j];
    f[j] = static_cast<float>(plain / config.yarn->factor * ramp + plain * (1 - ramp));
  }
}

}  // namespace

RopeTable make_rope_table(const ModelConfig& config, std::int64_t positions) {
  std::vector<float> f = frequencies(config);
  double multiplier = 1;
  if (config.yarn) {
    apply_yarn(config, f);
    multiplier = config.yarn->attention_factor.value_or(
        yarn_mscale(config.yarn->factor, config.yarn->mscale) /
        yarn_mscale(config.yarn->factor, config.yarn->mscale_all_dim));
  }
  RopeTable table;
  for (std::int64_t position = 0; position < positions; ++position) {
    for (float frequency : f) {
      // The product is rounded to float32 before sine and cosine: at long context that rounding
      // is visible, and the references have it.
      const float angle = static_cast<float>(position) * frequency;
      table.cosines.push_back(static_cast<float>(std::cos(double{angle}) * multiplier));
      table.sines.push_back(static_cast<float>(std::sin(double{angle}) * multiplier));
    }
  }
  return table;
}

}  // namespace indexcache
