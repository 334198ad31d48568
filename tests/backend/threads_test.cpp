// SPDX-License-Identifier: Apache-2.0
// Threads belong to a backend: several backends live side by side, and the process is left alone.
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/tiles.h"
#include "backend/row_chunks.h"
#include "core/thread_count.h"
#include "support/catch.h"
#include "support/random.h"

#include <atomic>
#include <omp.h>
#include <string_view>

using namespace indexcache;
using namespace indexcache::test;

namespace {

const ModelShape kShape{.layers = 2,
                        .vocabulary = 100,
                        .hidden = 64,
                        .heads = 4,
                        .latent_width = 40,
                        .kv_lora_rank = 32,
                        .index_heads = 4,
                        .index_head_dim = 32,
                        .index_topk = 128,
                        .intermediate = 96,
                        .moe_intermediate = 24,
                        .routed_experts = 16,
                        .experts_used = 4,
                        .expert_groups = 1};

RowLayout several_tiles() {
  RowLayout rows;
  for (const std::int64_t length : {700, 3, 301}) rows.append(length, 0);
  return rows;
}

struct Results {
  std::vector<float> product;
  std::vector<float> normalized;
  std::vector<double> losses;
  std::vector<TokenComparison> comparisons;

  bool operator==(const Results&) const = default;
};

Results compute(Backend& backend) {
  const RowLayout rows = several_tiles();
  const std::int64_t width = 67, vocabulary = 91;
  const auto size = static_cast<std::size_t>(rows.total * width);
  const Tensor x = backend.upload(random_floats(size, 1), rows.total, width);
  const auto matrix = random_floats(static_cast<std::size_t>(vocabulary * width), 2);
  const Tensor head = backend.upload(matrix, vocabulary, width);
  const Tensor product = backend.allocate(rows.total, vocabulary);
  backend.linear(rows, x, head, product);
  const auto scale = random_floats(static_cast<std::size_t>(width), 3);
  const Tensor normalized = backend.allocate(rows.total, width);
  backend.rms_norm(rows, x, backend.upload(scale, 1, width), 1e-6f, normalized);
  std::vector<std::int32_t> targets;
  for (std::int64_t row = 0; row < rows.total; ++row) {
    targets.push_back(static_cast<std::int32_t>(row % vocabulary));
  }
  const Tensor wanted = backend.upload(std::span<const std::int32_t>(targets), rows.total, 1);
  return {backend.download(product), backend.download(normalized),
          backend.next_token_loss(rows, normalized, head, wanted),
          backend.compare_next_tokens(rows, x, std::vector<Tensor>{normalized, x}, head, wanted)};
}

}  // namespace

TEST_CASE("backends with different numbers of threads live side by side and agree on every bit") {
  const int before = omp_get_max_threads();
  CpuBackend one(1), five(5), automatic;
  CHECK(one.threads() == 1);
  CHECK(five.threads() == 5);
  CHECK(automatic.threads() == thread_count(0));
  const Results expected = compute(one);
  CHECK(compute(five) == expected);
  CHECK(compute(automatic) == expected);
  CHECK(compute(one) == expected);
  CHECK(omp_get_max_threads() == before);
}

TEST_CASE("memory for scratch grows with the threads of the backend that is asked") {
  const CpuBackend one(1), five(5);
  CHECK(five.scratch_bytes(kShape, 1000, 1000) == 5 * one.scratch_bytes(kShape, 1000, 1000));
}

TEST_CASE("the indexer rounds keys of one sequence and some queries at a time, as if all at once") {
  CpuBackend backend(2, Precision::fp32, Precision::fp8);
  RowLayout rows, key_rows;
  for (const std::int64_t selecting : {2100, 3, 301}) {
    rows.append(selecting, kShape.index_topk);
    key_rows.append(kShape.index_topk + selecting, 0);
  }
  const std::int64_t heads = kShape.index_heads, width = kShape.index_head_dim;
  const auto tensor = [&](const RowLayout& of, std::int64_t cols, unsigned seed) {
    return backend.upload(random_floats(static_cast<std::size_t>(of.total * cols), seed), of.total,
                          cols);
  };
  const Tensor queries = tensor(rows, heads * width, 1), weights = tensor(rows, heads, 2),
               keys = tensor(key_rows, width, 3);
  const auto new_sets = [&] { return backend.allocate(rows.total, kShape.index_topk, DType::i32); };
  const Tensor together = new_sets(), apart = new_sets();
  const auto workspace = static_cast<std::size_t>(Memory::workspace);
  const std::int64_t before = backend.memory_use().current[workspace];
  backend.index_topk(rows, queries, weights, key_rows, keys, together);
  CHECK(backend.memory_use().peak[workspace] - before <=
        4 * (1024 * heads + key_rows.segments.front().rows) * width);
  for (const RowChunk& chunk : row_chunks(rows, kChunkGrain)) {
    backend.index_topk(chunk.rows, chunk.of(queries), chunk.of(weights), key_rows, keys,
                       chunk.of(apart));
  }
  const auto bytes_of = [](const Tensor& sets) {
    return std::string_view(sets.data<char>(),
                            static_cast<std::size_t>(sets.rows() * 4 * sets.cols()));
  };
  CHECK(bytes_of(together) == bytes_of(apart));
  CHECK(backend.scratch_bytes(kShape, 100'000, 4000) == backend.scratch_bytes(kShape, 1024, 4000));
}

TEST_CASE("a loop over tiles runs on as many threads as it is given") {
  for (const int threads : {1, 4}) {
    std::atomic<int> team = 0, tiles = 0;
    cpu::for_each_tile(threads, several_tiles(), 64, [&](const cpu::Tile&) {
      team = omp_get_num_threads();
      ++tiles;
    });
    CHECK(team == threads);
    CHECK(tiles == 11 + 1 + 5);
  }
}
