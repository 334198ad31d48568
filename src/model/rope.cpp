// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace indexcache {
namespace {

struct RopeRule {
  std::int64_t dim;
  double theta;
  const std::optional<Yarn>& yarn;
};

// Frequencies f_j, j < dr / 2, in float32 as the references keep them.
std::vector<float> frequencies(const RopeRule& rule) {
  const std::int64_t dim = rule.dim;
  std::vector<float> result;
  for (std::int64_t j = 0; j < dim / 2; ++j) {
    const double exponent = 2.0 * static_cast<double>(j) / static_cast<double>(dim);
    result.push_back(static_cast<float>(std::pow(rule.theta, -exponent)));
  }
  return result;
}

// Dimension at which a wave makes `rotations` turns within the original context.
double correction(const RopeRule& rule, double rotations) {
  const double turns = rule.yarn->original_positions / (2 * std::numbers::pi * rotations);
  return static_cast<double>(rule.dim) * std::log(turns) / (2 * std::log(rule.theta));
}

// Slow waves are divided by the factor, fast ones kept, with a linear ramp between.
void apply_yarn(const RopeRule& rule, std::vector<float>& f) {
  const double last = static_cast<double>(rule.dim) - 1;
  const double low = std::max(std::floor(correction(rule, rule.yarn->beta_fast)), 0.0);
  double high = std::min(std::ceil(correction(rule, rule.yarn->beta_slow)), last);
  if (low == high) high += 0.001;
  for (std::size_t j = 0; j < f.size(); ++j) {
    const double ramp = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
    const double plain = f[j];
    f[j] = static_cast<float>(plain / rule.yarn->factor * ramp + plain * (1 - ramp));
  }
}

RopeTable make_table(const RopeRule& rule, std::int64_t positions) {
  std::vector<float> f = frequencies(rule);
  double multiplier = 1;
  if (rule.yarn) {
    apply_yarn(rule, f);
    multiplier = rule.yarn->attention_factor.value_or(
        yarn_mscale(rule.yarn->factor, rule.yarn->mscale) /
        yarn_mscale(rule.yarn->factor, rule.yarn->mscale_all_dim));
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

}  // namespace

RopeTable make_rope_table(const ModelConfig& config, std::int64_t positions) {
  return make_table({config.qk_rope_head_dim, config.rope_theta, config.yarn}, positions);
}

RopeTable make_entry_rope_table(const ModelConfig& config, std::int64_t positions) {
  const CompressedAttention& compressed = *config.compressed;
  return make_table({config.qk_rope_head_dim, compressed.rope_theta, compressed.yarn}, positions);
}

}  // namespace indexcache
