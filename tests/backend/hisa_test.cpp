// SPDX-License-Identifier: Apache-2.0
// HISA on the CPU: against another program, and what it promises whatever the numbers are.
#include "backend/cpu/cpu_backend.h"
#include "backend/hisa_layout.h"
#include "backend/row_chunks.h"
#include "support/compare.h"
#include "support/hisa_case.h"

#include <algorithm>
#include <numeric>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Sequences below, at and beyond the reach of 5 blocks of 16, with ragged ends.
const HisaCase::Queries kRagged = {{7, 90}, {60, 0}, {70, 21}, {200, 40}, {7, 1}, {333, 3}};
constexpr HisaShape kSmall = {3, 20, 7};
constexpr Hisa kFive = {16, 5};

std::int64_t common(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return std::ranges::count_if(
      a, [&](std::int32_t member) { return std::ranges::binary_search(b, member); });
}

// Blocks of the means of complete blocks, ranked as the definition says, for one row.
std::vector<std::int32_t> blocks_by_definition(const HisaCase& c, std::size_t sequence,
                                               std::int64_t row, std::int64_t candidates,
                                               const Hisa& hisa) {
  const std::int64_t heads = c.shape.heads, width = c.shape.width;
  std::vector<std::pair<double, std::int32_t>> order;
  const std::int64_t last = hisa.blocks_of(candidates) - 1;
  for (std::int64_t b = 0; b <= last; ++b) {
    double score = 0;
    const std::int64_t first = b * hisa.block;
    const std::int64_t end = std::min(first + hisa.block, c.keys.segments[sequence].rows);
    for (std::int64_t h = 0; h < heads; ++h) {
      double dot = 0;
      for (std::int64_t d = 0; d < width; ++d) {
        double sum = 0;
        for (std::int64_t u = first; u < end; ++u) {
          const std::int64_t key = c.keys.segments[sequence].first_row + u;
          sum += c.key_values[static_cast<std::size_t>(key * width + d)];
        }
        dot += c.queries[static_cast<std::size_t>((row * heads + h) * width + d)] * sum /
               static_cast<double>(end - first);
      }
      score += c.head_weights[static_cast<std::size_t>(row * heads + h)] * std::max(dot, 0.0);
    }
    auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(score));
    bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    const bool forced = b == 0 || b == last;
    order.emplace_back(forced ? -INFINITY : -std::bit_cast<float>(bits), b);
  }
  std::ranges::sort(order);
  std::vector<std::int32_t> chosen;
  for (std::int64_t i = 0; i < std::min(hisa.blocks, last + 1); ++i) {
    chosen.push_back(order[static_cast<std::size_t>(i)].second);
  }
  std::ranges::sort(chosen);
  return chosen;
}

}  // namespace

TEST_CASE("HISA selects what an independent program does") {
  const HisaGolden golden;
  for (const int threads : {1, 3}) {
    CpuBackend cpu(threads);
    CHECK(golden.operands().selected(cpu, golden.hisa) == golden.sets);
  }
}

TEST_CASE("HISA selects k distinct candidates in ascending order, of the chosen blocks only") {
  CpuBackend cpu;
  const HisaCase c(kRagged, kSmall);
  const auto sets = c.selected(cpu, kFive);
  const auto exact = c.selected(cpu, std::nullopt);
  std::size_t segment = 0;
  std::int64_t inexact = 0;
  c.for_rows([&](std::int64_t row, std::int64_t candidates) {
    while (row >= c.rows.segments[segment].first_row + c.rows.segments[segment].rows) ++segment;
    INFO("row " << row << " with " << candidates << " candidates");
    const auto set = c.set_of(sets, row);
    CHECK(std::ranges::adjacent_find(set, std::greater_equal<>()) == set.end());
    CHECK(set.front() >= 0);
    CHECK(set.back() < candidates);
    const auto chosen = blocks_by_definition(c, segment, row, candidates, kFive);
    CHECK(chosen.front() == 0);
    CHECK(chosen.back() == kFive.blocks_of(candidates) - 1);
    for (const std::int32_t member : set) {
      CHECK(std::ranges::binary_search(chosen, member / 16));
    }
    // What the exact indexer selects in those blocks cannot be beaten within them.
    const auto of_exact = c.set_of(exact, row);
    for (const std::int32_t member : of_exact) {
      if (!std::ranges::binary_search(chosen, member / 16)) continue;
      CHECK(std::ranges::binary_search(set, member));
    }
    inexact += std::ranges::equal(set, of_exact) ? 0 : 1;
    if (candidates <= 5 * 16) CHECK(std::ranges::equal(set, of_exact));
  });
  CHECK(inexact > 0);
}

TEST_CASE("HISA with all blocks is the exact indexer") {
  CpuBackend cpu;
  const HisaCase c(kRagged, kSmall);
  const auto exact = c.selected(cpu, std::nullopt);
  CHECK(c.selected(cpu, Hisa{16, 21}) == exact);
  CHECK(c.selected(cpu, Hisa{128, 64}) == exact);
  CHECK(c.selected(cpu, Hisa{16, 20}) != exact);
}

TEST_CASE("no query has less in common with the exact indexer when HISA chooses more blocks") {
  CpuBackend cpu;
  const HisaCase c(kRagged, kSmall);
  const auto exact = c.selected(cpu, std::nullopt);
  std::vector<std::int64_t> before(static_cast<std::size_t>(c.rows.total), 0);
  std::vector<std::int64_t> totals;
  for (const std::int64_t blocks : {2, 3, 5, 8, 13, 21}) {
    const auto sets = c.selected(cpu, Hisa{16, blocks});
    for (std::int64_t row = 0; row < c.rows.total; ++row) {
      std::int64_t& least = before[static_cast<std::size_t>(row)];
      const std::int64_t now = common(c.set_of(sets, row), c.set_of(exact, row));
      CHECK(now >= least);
      least = now;
    }
    totals.push_back(std::accumulate(before.begin(), before.end(), std::int64_t{0}));
  }
  CHECK(totals.front() < totals.back());
  CHECK(totals.back() == c.rows.total * c.shape.k);
}

TEST_CASE("HISA with blocks of one key and k of them forces two tokens and ranks in bf16") {
  CpuBackend cpu;
  const HisaCase c({{40, 60}}, {3, 20, 7});
  const auto sets = c.selected(cpu, Hisa{1, 7});
  c.for_rows([&](std::int64_t row, std::int64_t candidates) {
    const auto set = c.set_of(sets, row);
    CHECK(set.front() == 0);
    CHECK(set.back() == candidates - 1);
    const auto blocks = blocks_by_definition(c, 0, row, candidates, {1, 7});
    CHECK(std::ranges::equal(set, blocks));
  });
}

TEST_CASE("HISA of a sequence does not depend on others, on chunks, or on later tokens") {
  CpuBackend cpu(2);
  const HisaCase all({{90, 600}, {200, 40}}, kSmall);
  const auto sets = all.selected(cpu, kFive);
  const Tensor q = cpu.upload(all.queries, all.rows.total, 60);
  const Tensor w = cpu.upload(all.head_weights, all.rows.total, 3);
  const Tensor k = cpu.upload(all.key_values, all.keys.total, 20);
  std::vector<std::int32_t> parts;
  for (const RowChunk& chunk : row_chunks(all.rows, 256)) {
    const Tensor out = cpu.allocate(chunk.rows.total, 7, DType::i32);
    cpu.hisa_topk(chunk.rows, chunk.of(q), chunk.of(w), all.keys, k, kFive, out);
    const auto part = cpu.download_indices(out);
    parts.insert(parts.end(), part.begin(), part.end());
  }
  CHECK(parts == sets);
  // One row by itself, with only the keys that it sees.
  RowLayout one, seen;
  one.append(1, 90 + 333);
  seen.append(90 + 334, 0);
  const Tensor out = cpu.allocate(1, 7, DType::i32);
  cpu.hisa_topk(one, q.row_range(333, 1), w.row_range(333, 1), seen, k.row_range(0, 90 + 334),
                kFive, out);
  CHECK(std::ranges::equal(cpu.download_indices(out), all.set_of(sets, 333)));
}

TEST_CASE("HISA among keys that represent several positions each") {
  CpuBackend cpu;
  const HisaCase c({{400, 64}, {40, 100}}, kSmall, 23, 4);
  const auto sets = c.selected(cpu, kFive);
  const auto exact = c.selected(cpu, std::nullopt);
  CHECK(sets != exact);
  std::size_t segment = 0;
  c.for_rows([&](std::int64_t row, std::int64_t candidates) {
    if (row >= c.rows.segments[1].first_row) segment = 1;
    const auto chosen = blocks_by_definition(c, segment, row, candidates, kFive);
    for (const std::int32_t member : c.set_of(sets, row)) {
      CHECK(member < candidates);
      CHECK(std::ranges::binary_search(chosen, member / 16));
    }
  });
}

TEST_CASE("common members of sets are counted row by row") {
  CpuBackend cpu;
  const std::vector<std::int32_t> a = {0, 1, 2, 4, 5, 6, 1, 3, 9};
  const std::vector<std::int32_t> b = {0, 1, 2, 1, 2, 3, 3, 8, 9};
  CHECK(cpu.common_counts(cpu.upload(std::span<const std::int32_t>(a), 3, 3),
                          cpu.upload(std::span<const std::int32_t>(b), 3, 3)) ==
        std::vector<std::int32_t>{3, 0, 2});
}
