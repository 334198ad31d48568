// SPDX-License-Identifier: Apache-2.0
// Training of indexers: the GPU's operations against the CPU backend on the same rounded operands,
// and against themselves: again, alone, and with little memory, to the bit. Queries and keys are
// multiples of 1/8, so that every product is exact in float32 in any order and ReLU cuts the same
// pairs on both backends.
#include "cuda/gpu.h"

#include <algorithm>
#include <span>
#include <utility>

using namespace indexcache;
using namespace indexcache::test;

namespace {

std::vector<float> eighths(std::size_t count, std::uint32_t seed) {
  auto values = random_floats(count, seed);
  for (float& value : values) value = std::round(value * 8) / 8;
  return values;
}

// Rows of some sequences and all of their keys.
struct Layouts {
  RowLayout rows, keys;
};

Layouts layouts_of(std::span<const std::pair<std::int64_t, std::int64_t>> first_and_rows) {
  Layouts layouts;
  for (const auto& [first, rows] : first_and_rows) {
    layouts.rows.append(rows, first);
    layouts.keys.append(first + rows, 0);
  }
  return layouts;
}

// Around the tiles of every kernel, and an empty segment.
Layouts ragged_layouts() {
  return layouts_of(std::vector<std::pair<std::int64_t, std::int64_t>>{
      {0, 1}, {5, 150}, {7, 0}, {130, 131}, {0, 64}, {300, 7}});
}

// Every k-th row has the same number of candidates in both forms: positions at least k - 1.
Layouts selecting_layouts(std::int64_t k) {
  return layouts_of(std::vector<std::pair<std::int64_t, std::int64_t>>{{k, 70}, {k + 90, 3}});
}

// k ascending positions of every row, spread over all that it sees; -1 beyond, if it sees fewer.
std::vector<std::int32_t> spread_sets(const RowLayout& rows, std::int64_t k) {
  std::vector<std::int32_t> sets;
  for (const Segment& segment : rows.segments) {
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      const std::int64_t count = segment.first_position + i + 1;
      for (std::int64_t j = 0; j < k; ++j) {
        sets.push_back(static_cast<std::int32_t>((j * count + (i * 7 + j * j) % count) / k));
        if (j > 0 && sets.back() <= sets[sets.size() - 2]) sets.back() = sets[sets.size() - 2] + 1;
      }
      for (std::int64_t j = k - 1, most = count - 1; j >= 0; --j, --most) {
        auto& position = sets[sets.size() - static_cast<std::size_t>(k - j)];
        position = std::min(position, static_cast<std::int32_t>(most));
      }
    }
  }
  return sets;
}

// Columns of sums: candidates of the row with the most.
std::int64_t columns_of(const RowLayout& rows, std::int64_t k) {
  if (k > 0) return k;
  std::int64_t most = 0;
  for (const Segment& s : rows.segments) most = std::max(most, s.first_position + s.rows);
  return most;
}

// Calls body(row, candidates) for every row.
template <typename Body>
void for_rows(const RowLayout& rows, std::int64_t k, const Body& body) {
  for (const Segment& segment : rows.segments) {
    for (std::int64_t i = 0; i < segment.rows; ++i) {
      body(segment.first_row + i, k > 0 ? k : segment.first_position + i + 1);
    }
  }
}

Tensor upload_sets(Backend& b, const std::vector<std::int32_t>& sets, const RowLayout& rows) {
  if (sets.empty()) return {};
  return b.upload(std::span<const std::int32_t>(sets), rows.total,
                  static_cast<std::int64_t>(sets.size()) / rows.total);
}

struct Shape {
  std::int64_t heads, width;
  std::int64_t k = 0;  // 0: all causal pairs
};

// --- The loss of an indexer ----------------------------------------------------------------------

struct Distilled {
  std::vector<float> queries, weights, keys, divergences;

  bool operator==(const Distilled&) const = default;
};

struct Distillation {
  Distillation(const Layouts& of, const Shape& shape, std::vector<std::int32_t> selected)
      : layouts(of), s(shape), sets(std::move(selected)), columns(columns_of(of.rows, s.k)) {
    const RowLayout& rows = layouts.rows;
    q = eighths(count_of(rows.total, s.heads * s.width), 11);
    k = eighths(count_of(layouts.keys.total, s.width), 12);
    w = random_floats(count_of(rows.total, s.heads), 13);
    d_keys = random_floats(count_of(layouts.keys.total, s.width), 14);
    for (float& value : d_keys) value *= 0.01f;
    sums.assign(count_of(rows.total, columns), kPoison);
    const auto random = random_floats(sums.size(), 15);
    for_rows(rows, s.k, [&](std::int64_t row, std::int64_t candidates) {
      const auto first = count_of(row, columns);
      double total = 0;
      for (std::size_t i = first; i < first + static_cast<std::size_t>(candidates); ++i) {
        sums[i] = i == first ? 0.5f : std::max(random[i], 0.0f);  // half of them are zero
        total += sums[i];
      }
      for (std::size_t i = first; i < first + static_cast<std::size_t>(candidates); ++i) {
        sums[i] = static_cast<float>(3 * sums[i] / total);
      }
    });
  }

  Distilled run(Backend& b) const {
    const RowLayout& rows = layouts.rows;
    const auto poison = [&](std::int64_t cols) {
      return b.upload(std::vector<float>(count_of(rows.total, cols), kPoison), rows.total, cols);
    };
    const IndexScores scores{b.upload_matrix(q, rows.total, s.heads * s.width),
                             b.upload(w, rows.total, s.heads),
                             b.upload_matrix(k, layouts.keys.total, s.width),
                             1.0f / std::sqrt(static_cast<float>(s.heads * s.width))};
    const IndexGradients gradients{poison(s.heads * s.width), poison(s.heads),
                                   b.upload(d_keys, layouts.keys.total, s.width)};
    const Tensor divergences = poison(1);
    b.distill_indexer(rows, scores, layouts.keys, upload_sets(b, sets, rows),
                      {b.upload(sums, rows.total, columns), 1.0f / 3}, 20.0f, gradients,
                      divergences);
    return {b.download(gradients.queries), b.download(gradients.head_weights),
            b.download(gradients.keys), b.download(divergences)};
  }

  // The same of one segment by itself.
  Distillation segment(std::size_t index) const {
    const Segment& mine = layouts.rows.segments[index];
    const Segment& seen = layouts.keys.segments[index];
    Distillation one = *this;
    one.layouts = {};
    one.layouts.rows.append(mine.rows, mine.first_position);
    one.layouts.keys.append(seen.rows, 0);
    const auto cut = [](auto& values, std::int64_t first, std::int64_t rows, std::int64_t cols) {
      const auto begin = values.begin() + first * cols;
      values = std::remove_reference_t<decltype(values)>(begin, begin + rows * cols);
    };
    cut(one.q, mine.first_row, mine.rows, s.heads * s.width);
    cut(one.w, mine.first_row, mine.rows, s.heads);
    cut(one.sums, mine.first_row, mine.rows, columns);
    cut(one.k, seen.first_row, seen.rows, s.width);
    cut(one.d_keys, seen.first_row, seen.rows, s.width);
    if (!sets.empty()) cut(one.sets, mine.first_row, mine.rows, s.k);
    return one;
  }

  Layouts layouts;
  Shape s;
  std::vector<std::int32_t> sets;
  std::int64_t columns;
  std::vector<float> q, k, w, d_keys, sums;
};

// Factors of the second products are rounded to bf16 where tensor cores do them, nothing else.
void check_close(const Distilled& actual, const Distilled& expected, double products) {
  CHECK_CLOSE(actual.queries, expected.queries, products);
  CHECK_CLOSE(actual.keys, expected.keys, products);
  CHECK_CLOSE(actual.weights, expected.weights, 1e-5);
  CHECK_CLOSE(actual.divergences, expected.divergences, 1e-5);
}

Distillation distillation(const Layouts& layouts, const Shape& s) {
  return {layouts, s, s.k > 0 ? spread_sets(layouts.rows, s.k) : std::vector<std::int32_t>()};
}

void check_distillation(Precision precision, const Shape& s, const Layouts& layouts) {
  INFO(name_of(precision) << ", " << s.heads << " heads of " << s.width << ", k " << s.k);
  Gpu gpu(precision);
  CpuBackend cpu;
  const bool tensor_cores = gpu.bf16 && s.k == 0 && s.width % 16 == 0 && s.width <= 128;
  const Distillation problem = distillation(layouts, s);
  const Distilled actual = problem.run(gpu.backend);
  check_close(actual, problem.run(cpu), tensor_cores ? 1e-2 : 1e-5);
  CHECK(problem.run(gpu.backend) == actual);

  const auto part = [](const std::vector<float>& values, std::int64_t first, std::int64_t rows,
                       std::int64_t cols) {
    const auto begin = values.begin() + first * cols;
    return std::vector<float>(begin, begin + rows * cols);
  };
  for (std::size_t i = 0; i < layouts.rows.segments.size(); ++i) {
    const Segment& rows = layouts.rows.segments[i];
    const Segment& keys = layouts.keys.segments[i];
    if (rows.rows == 0) continue;
    INFO("segment " << i);
    const Distilled in_batch{part(actual.queries, rows.first_row, rows.rows, s.heads * s.width),
                             part(actual.weights, rows.first_row, rows.rows, s.heads),
                             part(actual.keys, keys.first_row, keys.rows, s.width),
                             part(actual.divergences, rows.first_row, rows.rows, 1)};
    CHECK(problem.segment(i).run(gpu.backend) == in_batch);
  }
}

// --- The target ----------------------------------------------------------------------------------

struct Attention {
  Attention(const Layouts& of, const Shape& shape, std::vector<std::int32_t> selected)
      : layouts(of), s(shape), sets(std::move(selected)), columns(columns_of(of.rows, s.k)) {
    q = to_bf16(random_floats(count_of(layouts.rows.total, s.heads * s.width), 21));
    k = to_bf16(random_floats(count_of(layouts.keys.total, s.width), 22));
    sums.assign(count_of(layouts.rows.total, columns), kPoison);
    for_rows(layouts.rows, s.k, [&](std::int64_t row, std::int64_t candidates) {
      std::fill_n(sums.begin() + row * columns, candidates, 0.001f * static_cast<float>(row % 5));
    });
  }

  // Sums, with zeros where nothing may be written.
  std::vector<float> run(Backend& b) const {
    const RowLayout& rows = layouts.rows;
    const Tensor out = b.upload(sums, rows.total, columns);
    const Tensor queries = b.upload_matrix(q, rows.total, s.heads * s.width);
    b.mean_attention(rows, {queries, s.heads, s.width, s.width}, layouts.keys,
                     b.upload_matrix(k, layouts.keys.total, s.width), upload_sets(b, sets, rows),
                     3.0f / std::sqrt(static_cast<float>(s.width)), 0.25f, out);
    auto values = b.download(out);
    std::size_t written_beyond = 0;
    for_rows(rows, s.k, [&](std::int64_t row, std::int64_t candidates) {
      for (std::int64_t i = candidates; i < columns; ++i) {
        float& value = values[count_of(row, columns) + static_cast<std::size_t>(i)];
        written_beyond += std::isnan(value) ? 0 : 1;
        value = 0;
      }
    });
    CHECK(written_beyond == 0);
    return values;
  }

  Layouts layouts;
  Shape s;
  std::vector<std::int32_t> sets;
  std::int64_t columns;
  std::vector<float> q, k, sums;
};

void check_attention(Precision precision, const Shape& s, const Layouts& layouts) {
  INFO(name_of(precision) << ", " << s.heads << " heads of " << s.width << ", k " << s.k);
  Gpu gpu(precision);
  CpuBackend cpu;
  const auto sets = s.k > 0 ? spread_sets(layouts.rows, s.k) : std::vector<std::int32_t>();
  const Attention problem(layouts, s, sets);
  const auto actual = problem.run(gpu.backend);
  // Nothing is rounded to bf16 after the operands; tensor cores lose a bit or two of a sum.
  CHECK_CLOSE(actual, problem.run(cpu), gpu.bf16 ? 3e-5 : 1e-5);
  CHECK(problem.run(gpu.backend) == actual);
  for (const Segment& segment : layouts.rows.segments) {
    if (segment.rows == 0) continue;
    const auto index = static_cast<std::size_t>(&segment - layouts.rows.segments.data());
    const Segment& seen = layouts.keys.segments[index];
    Attention one = problem;
    one.layouts = {};
    one.layouts.rows.append(segment.rows, segment.first_position);
    one.layouts.keys.append(seen.rows, 0);
    const auto cut = [](auto& values, std::int64_t first, std::int64_t rows, std::int64_t cols) {
      const auto begin = values.begin() + first * cols;
      values = std::remove_reference_t<decltype(values)>(begin, begin + rows * cols);
    };
    cut(one.q, segment.first_row, segment.rows, s.heads * s.width);
    cut(one.k, seen.first_row, seen.rows, s.width);
    cut(one.sums, segment.first_row, segment.rows, problem.columns);
    if (s.k > 0) cut(one.sets, segment.first_row, segment.rows, s.k);
    auto in_batch = actual;
    cut(in_batch, segment.first_row, segment.rows, problem.columns);
    INFO("segment " << index);
    CHECK(one.run(gpu.backend) == in_batch);
  }
}

}  // namespace

TEST_CASE("GPU distillation over all causal pairs and over sets", "[large]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Shape& s : {Shape{4, 64}, {3, 20}, {1, 16}, {2, 48}, {9, 128}, {3, 136}}) {
      check_distillation(precision, s, ragged_layouts());
      check_distillation(precision, {s.heads, s.width, 33}, selecting_layouts(33));
    }
  }
}

TEST_CASE("GPU distillation at the shape of released indexers", "[large]") {
  const Layouts layouts =
      layouts_of(std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 3}, {70, 20}});
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    check_distillation(precision, {64, 128}, layouts);
    check_distillation(precision, {64, 128, 100}, selecting_layouts(100));
  }
}

TEST_CASE("GPU distillation and its target over sets of all positions") {
  const std::int64_t k = 100;
  const Layouts layouts = layouts_of(
      std::vector<std::pair<std::int64_t, std::int64_t>>{{k - 1, 1}, {k - 1, 1}, {k - 1, 1}});
  std::vector<std::int32_t> all(static_cast<std::size_t>(3 * k));
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = static_cast<std::int32_t>(i % static_cast<std::size_t>(k));
  }
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Gpu gpu(precision);
    INFO(name_of(precision));
    const Distillation dense(layouts, {4, 64}, {}), sparse(layouts, {4, 64, k}, all);
    check_close(sparse.run(gpu.backend), dense.run(gpu.backend), gpu.tolerance(1e-5));
    const Attention attention(layouts, {4, 128}, {}), selected(layouts, {4, 128, k}, all);
    CHECK_CLOSE(selected.run(gpu.backend), attention.run(gpu.backend), gpu.bf16 ? 3e-5 : 1e-5);
  }
}

TEST_CASE("GPU distillation in chunks of rows has the same bits") {
  const Layouts layouts =
      layouts_of(std::vector<std::pair<std::int64_t, std::int64_t>>{{100, 700}, {0, 300}});
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    Gpu whole(precision), small(precision);
    small.backend.limit_memory(std::int64_t{1} << 20);
    INFO(name_of(precision));
    const Distillation problem = distillation(layouts, {2, 32});
    CHECK(problem.run(small.backend) == problem.run(whole.backend));
  }
}

TEST_CASE("GPU scratch of a distillation is linear in the length", "[large]") {
  const std::int64_t rows = 1024, keys = 8192, heads = 2, width = 16;
  Gpu gpu(Precision::fp32);
  CudaBackend& b = gpu.backend;
  b.limit_memory(std::int64_t{16} << 20);
  const auto random = [&](std::int64_t r, std::int64_t c) {
    const Tensor tensor = b.allocate(r, c);
    b.fill_random(tensor, 0.5f, 0.5f, 7);
    return tensor;
  };
  RowLayout row_layout, key_layout;
  row_layout.append(rows, keys - rows);
  key_layout.append(keys, 0);
  const Tensor sums = random(rows, keys), divergences = random(rows, 1);
  const IndexScores scores{random(rows, heads * width), random(rows, heads), random(keys, width),
                           0.1f};
  const IndexGradients gradients{random(rows, heads * width), random(rows, heads),
                                 random(keys, width)};
  const auto workspace = static_cast<std::size_t>(Memory::workspace);
  const std::int64_t before = b.memory_use().current[workspace];
  REQUIRE(b.memory_use().peak[workspace] == before);
  b.mean_attention(row_layout, {scores.queries, heads, width, width}, key_layout, scores.keys, {},
                   0.1f, 1.0f, sums);
  b.distill_indexer(row_layout, scores, key_layout, {}, {sums, 0.01f}, 1.0f, gradients,
                    divergences);
  // The fewest rows of a chunk, and what is small.
  const std::int64_t taken = b.memory_use().peak[workspace] - before;
  CHECK(taken >= 256 * keys * 4);
  CHECK(taken <= 256 * keys * 4 + (std::int64_t{1} << 20));
}

TEST_CASE("GPU mean attention over all causal pairs and over sets", "[large]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Shape& s : {Shape{4, 128}, {3, 20}, {1, 16}, {6, 144}, {5, 40}}) {
      check_attention(precision, s, ragged_layouts());
      check_attention(precision, {s.heads, s.width, 33}, selecting_layouts(33));
    }
  }
}

TEST_CASE("GPU mean attention at 512 + 64, the shape of released models", "[large]") {
  const Layouts layouts =
      layouts_of(std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 3}, {70, 20}});
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    check_attention(precision, {128, 576}, layouts);
    check_attention(precision, {128, 576, 60}, selecting_layouts(60));
  }
}
