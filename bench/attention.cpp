// SPDX-License-Identifier: Apache-2.0
// bench_attention: sparse MLA attention in the absorbed form (all heads read one latent row)
// against the expanded form (each head reads keys and values of its own), at the shapes of real
// models. The projections on either side cost the same in both forms and are left out.
#include "backend/cpu/cpu_backend.h"
#include "core/allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace indexcache {
namespace {

struct Shape {
  const char* model;
  std::int64_t heads, nope, rope, value, rank, topk, length;
};

Tensor random_tensor(CpuBackend& backend, std::int64_t rows, std::int64_t cols) {
  static std::mt19937 engine(1);
  std::vector<float> values(static_cast<std::size_t>(rows * cols));
  for (float& value : values) value = static_cast<float>(engine()) / 4294967296.0f - 0.5f;
  return backend.upload(std::move(values), rows, cols);
}

// k positions of 0 .. t, spread evenly.
Tensor spread_sets(CpuBackend& backend, std::int64_t queries, std::int64_t k, std::int64_t length) {
  std::vector<std::int32_t> sets;
  for (std::int64_t q = 0; q < queries; ++q) {
    const std::int64_t candidates = length - queries + q + 1;
    for (std::int64_t i = 0; i < k; ++i) {
      sets.push_back(static_cast<std::int32_t>(i * candidates / k));
    }
  }
  return backend.upload(std::span<const std::int32_t>(sets), queries, k);
}

template <typename Body>
double microseconds_a_query(std::int64_t queries, const Body& body) {
  double best = 1e30;
  for (int round = 0; round < 5; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double, std::micro> spent =
        std::chrono::steady_clock::now() - begin;
    best = std::min(best, spent.count());
  }
  return best / static_cast<double>(queries);
}

void compare(const Shape& s) {
  CpuBackend backend;
  const std::int64_t queries = std::min<std::int64_t>(s.length - s.topk, 256);
  const std::int64_t latent = s.rank + s.rope, qk = s.nope + s.rope;
  RowLayout rows, keys;
  rows.append(queries, s.length - queries);
  keys.append(s.length, 0);
  const Tensor sets = spread_sets(backend, queries, s.topk, s.length);
  const Tensor latents = random_tensor(backend, s.length, latent);
  const Tensor absorbed = random_tensor(backend, queries, s.heads * latent);
  const Tensor mixed = backend.allocate(queries, s.heads * s.rank, DType::f32);
  const double together = microseconds_a_query(queries, [&] {
    backend.sparse_attention(rows, {absorbed, s.heads, latent, latent}, keys, latents,
                             latents.columns(0, s.rank), sets, 0.1f,
                             {mixed, s.heads, s.rank, s.rank});
  });
  const Tensor own_keys = random_tensor(backend, s.length, s.heads * qk);
  const Tensor own_values = random_tensor(backend, s.length, s.heads * s.value);
  const Tensor query = random_tensor(backend, queries, s.heads * qk);
  const Tensor out = backend.allocate(queries, s.heads * s.value, DType::f32);
  const double apart = microseconds_a_query(queries, [&] {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      backend.sparse_attention(rows, {query.columns(h * qk, qk), 1, qk, qk}, keys,
                               own_keys.columns(h * qk, qk),
                               own_values.columns(h * s.value, s.value), sets, 0.1f,
                               {out.columns(h * s.value, s.value), 1, s.value, s.value});
    }
  });
  fmt::print("{:<22} {:>6} tokens  absorbed {:8.1f} us per query  expanded {:8.1f}  ratio {:.2f}\n",
             s.model, s.length, together, apart, apart / together);
}

}  // namespace
}  // namespace indexcache

int main() {
  indexcache::keep_freed_memory();
  for (const indexcache::Shape& shape :
       {indexcache::Shape{"dsa-mini", 4, 32, 32, 64, 96, 128, 1024},
        indexcache::Shape{"dsa-mini", 4, 32, 32, 64, 96, 128, 8192},
        indexcache::Shape{"30B (paper)", 20, 192, 64, 256, 512, 2048, 8192},
        indexcache::Shape{"GLM-5", 64, 192, 64, 256, 512, 2048, 8192},
        indexcache::Shape{"DeepSeek-V3.2", 128, 128, 64, 128, 512, 2048, 8192}}) {
    indexcache::compare(shape);
  }
}
