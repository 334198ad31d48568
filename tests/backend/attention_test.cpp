// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"
#include "support/random.h"

#include <algorithm>
#include <cmath>

using namespace indexcache;
using namespace indexcache::test;

namespace {

constexpr std::int64_t kRank = 37, kRope = 6, kWidth = kRank + kRope;

// Attention of one query by its formula, in double; a sink of -inf is none.
std::vector<float> reference(const float* query, const float* latents,
                             const std::vector<std::int32_t>& set, double scale, double sink) {
  std::vector<double> scores;
  for (std::int32_t u : set) {
    double dot = 0;
    for (std::int64_t d = 0; d < kWidth; ++d) dot += double{query[d]} * latents[u * kWidth + d];
    scores.push_back(scale * dot);
  }
  const double peak = std::max(*std::ranges::max_element(scores), sink);
  double total = std::exp(sink - peak);
  for (double& s : scores) total += s = std::exp(s - peak);
  std::vector<float> out;
  for (std::int64_t d = 0; d < kRank; ++d) {
    double value = 0;
    for (std::size_t i = 0; i < set.size(); ++i) value += scores[i] * latents[set[i] * kWidth + d];
    out.push_back(static_cast<float>(value / total));
  }
  return out;
}

}  // namespace

namespace {

// Of six heads, four at once and then two alone; empty `sinks`: none.
void check_attention(bool dense, const std::vector<float>& sinks) {
  CpuBackend backend;
  const std::int64_t heads = 6, k = 5;
  RowLayout rows, keys;
  for (std::int64_t length : {50, 11}) {
    rows.append(length - k, k);
    keys.append(length, 0);
  }
  const auto q = random_floats(static_cast<std::size_t>(rows.total * heads * kWidth), 1);
  const auto c = random_floats(static_cast<std::size_t>(keys.total * kWidth), 2);
  std::vector<std::int32_t> sets;
  std::vector<float> expected;
  for (std::size_t s = 0; s < 2; ++s) {
    for (std::int64_t i = 0; i < rows.segments[s].rows; ++i) {
      std::vector<std::int32_t> set;
      for (std::int32_t u = 0; u <= k + i; ++u) {
        if (dense || (u % 2 == i % 2 && set.size() < k) || u > i) set.push_back(u);
      }
      if (!dense) set.resize(k);
      sets.insert(sets.end(), set.begin(), set.end());
      const std::int64_t row = rows.segments[s].first_row + i;
      for (std::int64_t h = 0; h < heads; ++h) {
        const double sink = sinks.empty() ? -INFINITY : sinks[static_cast<std::size_t>(h)];
        const auto out = reference(q.data() + (row * heads + h) * kWidth,
                                   c.data() + keys.segments[s].first_row * kWidth, set, 0.7, sink);
        expected.insert(expected.end(), out.begin(), out.end());
      }
    }
  }
  const Tensor out =
      backend.upload(std::vector<float>(static_cast<std::size_t>(rows.total * heads * kRank), NAN),
                     rows.total, heads * kRank);
  const Tensor selected =
      dense ? Tensor() : backend.upload(std::span<const std::int32_t>(sets), rows.total, k);
  const Tensor latents = backend.upload(c, keys.total, kWidth);
  backend.sparse_attention(
      rows, {backend.upload(q, rows.total, heads * kWidth), heads, kWidth, kWidth}, keys, latents,
      latents.columns(0, kRank), selected, 0.7f, {out, heads, kRank, kRank},
      sinks.empty() ? Tensor() : backend.upload(sinks, 1, heads));
  INFO("dense " << dense << ", sinks " << sinks.size());
  CHECK_CLOSE(backend.download(out), expected, 1e-6);
}

}  // namespace

TEST_CASE("attention over selected and over all causal positions, with sinks and without") {
  // Sinks that nobody notices, that take all, and between.
  const std::vector<float> sinks = {-50, 60, 0.5f, 3, -1, 8};
  for (const bool dense : {false, true}) {
    check_attention(dense, {});
    check_attention(dense, sinks);
  }
}
