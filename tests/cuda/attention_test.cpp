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

TEST_CASE(
    "GPU attention over all causal positions gives a query the same bits with other neighbors") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const std::int64_t heads : {1, 3, 4, 8, 9}) {
      INFO(name_of(precision) << " heads " << heads);
      Gpu gpu(precision);
      Backend& b = gpu.backend;
      constexpr std::int64_t kRank = 96, kWidth = 128;
      RowLayout rows, keys;
      for (const auto& [length, first] :
           {std::pair{70, 0}, {133, 60}, {1, 0}, {2, 1}, {131, 128}}) {
        rows.append(length - first, first);
        keys.append(length, 0);
      }
      const Tensor q =
          b.upload_matrix(gpu.random(rows.total, heads * kWidth, 63), rows.total, heads * kWidth);
      const Tensor latents =
          b.upload_matrix(gpu.random(keys.total, kWidth, 64), keys.total, kWidth);
      const auto attend = [&](const RowLayout& part, const Tensor& queries,
                              const RowLayout& key_rows, const Tensor& cache) {
        const Tensor out = gpu.poisoned(part.total, heads * kRank);
        b.sparse_attention(part, {queries, heads, kWidth, kWidth}, key_rows, cache,
                           cache.columns(0, kRank), Tensor(), 0.1f, {out, heads, kRank, kRank});
        return b.download(out);
      };
      const std::vector<float> all = attend(rows, q, keys, latents);
      for (std::size_t s = 0; s < rows.segments.size(); ++s) {
        const Segment& segment = rows.segments[s];
        RowLayout own_keys;
        own_keys.append(keys.segments[s].rows, 0);
        const Tensor cache = latents.row_range(keys.segments[s].first_row, own_keys.total);
        for (std::int64_t r = 0; r < segment.rows; ++r) {
          RowLayout one;
          one.append(1, segment.first_position + r);
          const std::int64_t row = segment.first_row + r;
          const auto expected = all.begin() + row * heads * kRank;
          CHECK(std::ranges::equal(attend(one, q.row_range(row, 1), own_keys, cache),
                                   std::span(expected, static_cast<std::size_t>(heads * kRank))));
        }
      }
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
