// SPDX-License-Identifier: Apache-2.0
// Dense attention of expanded MLA, and the products that expand its keys.
#include "backend/cpu/cpu_backend.h"
#include "backend/row_chunks.h"
#include "support/causal_case.h"
#include "support/compare.h"

#include <algorithm>
#include <cmath>
#include <vector>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// The attention of one query and head by its formula, in double; a sink of -inf is none.
std::vector<float> reference(const CausalCase& c, const Segment& keys, std::int64_t row,
                             std::int64_t head, std::int64_t candidates, double sink) {
  const CausalShape& s = c.shape;
  const float* q = c.queries.data() + row * s.query_cols() + head * s.query_stride();
  std::vector<double> logits;
  for (std::int64_t u = keys.first_row; u < keys.first_row + candidates; ++u) {
    double dot = 0;
    for (std::int64_t d = 0; d < s.nope; ++d) {
      dot += double{q[d]} * c.nope[static_cast<std::size_t>((u * s.heads + head) * s.nope + d)];
    }
    for (std::int64_t d = 0; d < s.rope; ++d) {
      dot += double{q[s.nope + d]} * c.rope[static_cast<std::size_t>(u * s.rope + d)];
    }
    logits.push_back(c.scale * dot);
  }
  const double peak = std::max(*std::ranges::max_element(logits), sink);
  double total = std::exp(sink - peak);
  for (double& logit : logits) total += logit = std::exp(logit - peak);
  std::vector<float> out;
  for (std::int64_t d = 0; d < s.value; ++d) {
    double sum = 0;
    for (std::int64_t i = 0; i < candidates; ++i) {
      const std::int64_t u = keys.first_row + i;
      sum += logits[static_cast<std::size_t>(i)] *
             c.values[static_cast<std::size_t>((u * s.heads + head) * s.value + d)];
    }
    out.push_back(static_cast<float>(sum / total));
  }
  return out;
}

void check(const CausalCase& c) {
  CpuBackend cpu;
  const std::vector<float> got = c.attend(cpu, c.rows);
  std::vector<float> expected;
  for (std::size_t s = 0; s < c.rows.segments.size(); ++s) {
    const Segment &rows = c.rows.segments[s], &keys = c.keys.segments[s];
    for (std::int64_t i = 0; i < rows.rows; ++i) {
      for (std::int64_t head = 0; head < c.shape.heads; ++head) {
        const double sink = c.sinks.empty() ? -INFINITY : c.sinks[static_cast<std::size_t>(head)];
        const auto out =
            reference(c, keys, rows.first_row + i, head, keys.candidates(rows.position(i)), sink);
        expected.insert(expected.end(), out.begin(), out.end());
      }
    }
  }
  CHECK_CLOSE(got, expected, 2e-6);
}

}  // namespace

TEST_CASE("dense attention is a plain softmax over all earlier positions") {
  for (const bool sinks : {false, true}) {
    // Lengths around the blocks of queries and keys, a tail of a sequence, an empty one.
    check(CausalCase({3, 8, 4, 12}, {{1, 0}, {300, 0}, {0, 0}, {33, 500}, {7, 255}}, sinks));
    check(CausalCase({1, 5, 3, 2}, {{70, 0}}, sinks));
  }
}

TEST_CASE("dense attention of a row does not depend on other sequences, chunks, or threads") {
  const CausalCase c({2, 16, 8, 24}, {{5, 0}, {777, 0}, {40, 260}}, true);
  CpuBackend cpu(1), threads(3);
  const std::vector<float> all = c.attend(cpu, c.rows);
  CHECK(c.attend(threads, c.rows) == all);
  std::vector<float> by_chunks;
  for (const RowChunk& chunk : row_chunks(c.rows, kChunkGrain)) {
    const std::vector<float> part = c.attend(cpu, chunk.rows, chunk.first_row);
    by_chunks.insert(by_chunks.end(), part.begin(), part.end());
  }
  CHECK(by_chunks == all);
  for (std::size_t s = 0; s < c.rows.segments.size(); ++s) {
    CHECK(c.attend_alone(cpu, s) == c.rows_of(all, s));
  }
}

TEST_CASE("every head is expanded by its own matrix") {
  CpuBackend cpu;
  const std::int64_t rank = 7, width = 5, heads = 3;
  RowLayout rows;
  rows.append(131, 0);
  rows.append(2, 0);
  const auto x = random_floats(static_cast<std::size_t>(rows.total * (rank + 2)), 1);
  const auto w = random_floats(static_cast<std::size_t>(heads * rank * width), 2);
  const std::int64_t stride = width + 1;
  const std::vector<float> gaps(static_cast<std::size_t>(rows.total * heads * stride), 9);
  const Tensor out = cpu.upload(gaps, rows.total, heads * stride);
  cpu.expand_heads(rows, cpu.upload(x, rows.total, rank + 2).columns(1, rank),
                   cpu.upload(w, heads * rank, width), {out, heads, stride, width});
  std::vector<float> expected = gaps;
  for (std::int64_t row = 0; row < rows.total; ++row) {
    for (std::int64_t column = 0; column < heads * width; ++column) {
      const std::int64_t head = column / width, d = column % width;
      double sum = 0;
      for (std::int64_t r = 0; r < rank; ++r) {
        sum += double{x[static_cast<std::size_t>(row * (rank + 2) + 1 + r)]} *
               w[static_cast<std::size_t>((head * rank + r) * width + d)];
      }
      expected[static_cast<std::size_t>((row * heads + head) * stride + d)] =
          static_cast<float>(sum);
    }
  }
  CHECK_CLOSE(cpu.download(out), expected, 1e-6);
}
