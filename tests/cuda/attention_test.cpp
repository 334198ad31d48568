// SPDX-License-Identifier: Apache-2.0
// Sparse attention: the GPU's kernels against the CPU backend.
#include "cuda/gpu.h"

#include <algorithm>
#include <numeric>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct Shape {
  std::int64_t heads, rank, rope, k;
  bool dense = false;
};

// k ascending positions of [0, last], the same for the same seed.
std::vector<std::int32_t> random_set(std::int64_t k, std::int64_t last, std::uint32_t seed) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(last) + 1);
  std::iota(all.begin(), all.end(), 0);
  std::mt19937 engine(seed);
  for (std::size_t i = 0; i < static_cast<std::size_t>(k); ++i) {
    std::swap(all[i], all[i + engine() % (all.size() - i)]);
  }
  all.resize(static_cast<std::size_t>(k));
  std::ranges::sort(all);
  return all;
}

void check(Precision precision, const Shape& s) {
  INFO(name_of(precision) << " heads " << s.heads << ", " << s.rank << " + " << s.rope << ", k "
                          << s.k << (s.dense ? ", dense" : ""));
  Gpu gpu(precision);
  RowLayout rows, keys;
  std::vector<std::int32_t> sets;
  for (const std::int64_t length : {s.k + 37, s.k + 2}) {
    const std::int64_t first = s.dense ? 0 : s.k;
    rows.append(length - first, first);
    keys.append(length, 0);
    for (std::int64_t t = first; !s.dense && t < length; ++t) {
      const auto set = random_set(s.k, t, static_cast<std::uint32_t>(t));
      sets.insert(sets.end(), set.begin(), set.end());
    }
  }
  const std::int64_t width = s.rank + s.rope;
  const auto q = gpu.random(rows.total, s.heads * width, 61);
  auto c = gpu.random(keys.total, width, 62);
  const float scale = 1.5f / std::sqrt(static_cast<float>(width));
  compare_backends(gpu, gpu.tolerance(1e-5), [&](Backend& b, auto put, auto poison) {
    const Tensor latents = put(c, keys.total, width);
    const Tensor out = poison(rows.total, s.heads * s.rank);
    const Tensor selected =
        s.dense ? Tensor() : b.upload(std::span<const std::int32_t>(sets), rows.total, s.k);
    b.sparse_attention(rows, {put(q, rows.total, s.heads * width), s.heads, width, width}, keys,
                       latents, latents.columns(0, s.rank), selected, scale,
                       {out, s.heads, s.rank, s.rank});
    return out;
  });
}

}  // namespace

TEST_CASE("GPU attention over selected and over all causal positions") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Shape& s : {Shape{6, 36, 4, 5},
                           {4, 96, 32, 128},
                           {1, 32, 8, 16},
                           {3, 136, 8, 33},
                           {17, 200, 64, 70},
                           {4, 96, 32, 130, true},
                           {5, 512, 64, 40, true}}) {
      check(precision, s);
    }
  }
}

TEST_CASE("GPU attention at 512 + 64, the shape of released models") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const std::int64_t heads : {1, 20, 64, 70, 128}) check(precision, {heads, 512, 64, 200});
    for (const std::int64_t k : {1, 63, 64, 65, 512}) check(precision, {20, 512, 64, k});
    check(precision, {64, 512, 64, 130, true});
  }
}
