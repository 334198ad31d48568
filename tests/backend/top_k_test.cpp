// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/arithmetic/arithmetic.h"
#include "backend/cpu/isa.h"
#include "support/catch.h"
#include "support/random.h"

#include <algorithm>
#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<std::int32_t> by_sorting(const std::vector<float>& scores, std::int64_t k) {
  std::vector<std::int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(k));
  std::ranges::sort(order);
  return order;
}

std::vector<std::int32_t> selected(const std::vector<float>& scores, std::int64_t k) {
  std::vector<std::uint32_t> workspace;
  std::vector<std::int32_t> out(static_cast<std::size_t>(k));
  cpu::choose_isa("").arithmetic->select_top_k(scores, k, workspace, out.data());
  for (const cpu::Isa& isa : cpu::isas()) {
    if (!isa.runs_here()) continue;
    std::vector<std::int32_t> other(out.size());
    isa.arithmetic->select_top_k(scores, k, workspace, other.data());
    INFO(isa.name);
    CHECK(other == out);
  }
  return out;
}

}  // namespace

TEST_CASE("top-k equals a stable sort, with plateaus and negative scores") {
  for (std::size_t length : {1u, 2u, 15u, 16u, 17u, 200u, 4099u}) {
    std::vector<float> scores = random_floats(length, static_cast<std::uint32_t>(length));
    for (std::size_t i = 0; i < length; ++i) {
      if (i % 3 == 0) scores[i] = 0.0f;    // a plateau of zeros, as ReLU makes
      if (i % 7 == 0) scores[i] = -0.0f;   // equal to +0
      if (i % 11 == 0) scores[i] = 0.25f;  // a plateau above
      if (i % 13 == 0) scores[i] = -0.5f;  // and below
    }
    for (std::size_t k : {std::size_t{1}, length / 3, length / 2, length - 1, length}) {
      if (k == 0) continue;
      INFO("length " << length << ", k " << k);
      const auto wanted = static_cast<std::int64_t>(k);
      CHECK(selected(scores, wanted) == by_sorting(scores, wanted));
    }
  }
}

TEST_CASE("among equal scores the lower positions win") {
  CHECK(selected({0, 0, 0, 0}, 2) == std::vector<std::int32_t>{0, 1});
  CHECK(selected({-1, 0.0f, -0.0f, 5}, 2) == std::vector<std::int32_t>{1, 3});
  CHECK(selected({-3, -2, -1}, 1) == std::vector<std::int32_t>{2});
}
