// SPDX-License-Identifier: Apache-2.0
#include "search/overlap.h"

#include "backend/cpu/cpu_backend.h"
#include "support/catch.h"

using namespace indexcache;

namespace {

// L layers whose pairs overlap by `value(i, j)`, as if 1000 queries of k = 1000 had been counted.
template <typename Value>
Overlap synthetic(std::size_t layers, Value value) {
  Overlap overlap{layers, 1000, {2000}, {1000}, {}};
  for (std::size_t i = 0; i < layers; ++i) {
    for (std::size_t j = 0; j < layers; ++j) {
      overlap.counts.push_back(static_cast<std::int64_t>(1e6 * value(i, j)));
    }
  }
  return overlap;
}

}  // namespace

TEST_CASE("position buckets double from twice the top-k") {
  CHECK(position_buckets(128, 1024) == std::vector<std::int64_t>{256, 512, 1024});
  CHECK(position_buckets(128, 1025) == std::vector<std::int64_t>{256, 512, 1024, 2048});
  CHECK(position_buckets(2048, 2049) == std::vector<std::int64_t>{4096});
}

TEST_CASE("batches add up, by bucket and over all") {
  CpuBackend backend;
  Overlap overlap{2, 2, {4, 8}, {}, {}};
  RowLayout rows;
  rows.append(3, 2);  // positions 2, 3 | 4
  const std::vector<std::int32_t> a = {0, 1, 0, 1, 0, 1};
  const std::vector<std::int32_t> b = {0, 1, 1, 2, 3, 4};
  const std::vector<Tensor> sets = {backend.upload(std::span<const std::int32_t>(a), 3, 2),
                                    backend.upload(std::span<const std::int32_t>(b), 3, 2)};
  accumulate(overlap, backend, rows, sets);
  accumulate(overlap, backend, rows, sets);
  CHECK(overlap.queries == std::vector<std::int64_t>{4, 2});
  CHECK(overlap.mean(0, 1) == Approx(0.5));
  CHECK(overlap.mean(0, 1, 0) == Approx(0.75));
  CHECK(overlap.mean(1, 0, 1) == 0.0);
  CHECK(overlap.mean(1, 1) == 1.0);
  CHECK(overlap.adjacent() == std::vector<double>{0.5});
}

TEST_CASE("blocks are the runs that agree more than layers do on average") {
  const auto block_of = [](std::size_t layer) { return layer < 2 ? 0 : layer < 6 ? 1 : 2; };
  const Overlap overlap = synthetic(9, [&](std::size_t i, std::size_t j) {
    return i == j ? 1.0 : block_of(i) == block_of(j) ? 0.8 : 0.3;
  });
  const auto blocks = find_blocks(overlap);
  REQUIRE(blocks.size() == 3);
  CHECK((blocks[0].first == 0 && blocks[0].last == 1));
  CHECK((blocks[1].first == 2 && blocks[1].last == 5));
  CHECK((blocks[2].first == 6 && blocks[2].last == 8));
  CHECK(find_blocks(synthetic(1, [](auto, auto) { return 1.0; })).empty());
}
