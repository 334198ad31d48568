// SPDX-License-Identifier: Apache-2.0
// Entries, and attention over a window and entries: the GPU against the CPU backend.
#include "cuda/gpu.h"
#include "support/entry_rows.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Columns of what is pooled, and of an entry.
struct Pooling {
  std::int64_t ratio, n, width;
};

constexpr Pooling kPoolings[] = {
    {4, 38, 19}, {4, 1024, 512}, {4, 256, 128}, {16, 19, 19}, {128, 512, 512}};

RowLayout pooled_sequences() {
  return whole_sequences({262, 3, 0, 141});
}

enum class Seen { window, all, chosen };

constexpr const char* name_of_seen(Seen seen) {
  return seen == Seen::window ? "no entries" : seen == Seen::all ? "all entries" : "sets";
}

struct Shape {
  std::int64_t heads, width, window, ratio, k;
  bool sinks = true;
};

// k ascending candidates of [0, count).
std::vector<std::int32_t> random_set(std::int64_t k, std::int64_t count, std::uint32_t seed) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  std::shuffle(all.begin(), all.end(), std::mt19937(seed));
  all.resize(static_cast<std::size_t>(k));
  std::ranges::sort(all);
  return all;
}

// Queries of ragged sequences, and everything that they attend to.
class WindowCase {
 public:
  WindowCase(const Gpu& gpu, const Shape& shape, Seen seen) : s(shape), seen_(seen) {
    const std::int64_t first = seen == Seen::chosen ? s.ratio * (s.k + 1) - 1 : 0;
    for (const std::int64_t count : {67, 0, 1, 5}) {
      const std::int64_t more = seen == Seen::window ? 2 * s.window : s.ratio * s.k;
      keys.append(first + (first == 0 && count > 1 ? more : 0) + count, 0);
      const std::int64_t length = keys.segments.back().rows;
      rows.append(length - first, first);
    }
    entry_rows = entries_of(keys, s.ratio);
    queries_ = gpu.random(rows.total, s.heads * s.width, 91);
    keys_ = gpu.random(keys.total, s.width, 92);
    entries_ = gpu.random(entry_rows.total, s.width, 93);
    for (const Segment& segment : rows.segments) {
      for (std::int64_t i = 0; seen == Seen::chosen && i < segment.rows; ++i) {
        const std::int64_t candidates = candidates_at(segment.position(i), s.ratio);
        const auto set = random_set(s.k, candidates, static_cast<std::uint32_t>(sets_.size()));
        sets_.insert(sets_.end(), set.begin(), set.end());
      }
    }
    for (std::int64_t h = 0; h < s.heads; ++h) {
      sinks_.push_back(static_cast<float>(h % 9) * 2 - 8);
    }
  }

  std::vector<float> attended(Backend& b) const {
    return attended(b, rows, 0, keys, entry_rows, 0, 0);
  }

  // One row by itself, with the keys of its own sequence.
  std::vector<float> attended_alone(Backend& b, std::size_t sequence, std::int64_t i) const {
    const Segment& segment = rows.segments[sequence];
    RowLayout one, own_keys, own_entries;
    one.append(1, segment.position(i));
    own_keys.append(keys.segments[sequence].rows, 0);
    own_entries.append(entry_rows.segments[sequence].rows, 0, s.ratio);
    return attended(b, one, segment.first_row + i, own_keys, own_entries,
                    keys.segments[sequence].first_row, entry_rows.segments[sequence].first_row);
  }

  Shape s;
  RowLayout rows, keys, entry_rows;

 private:
  std::vector<float> attended(Backend& b, const RowLayout& some, std::int64_t first_row,
                              const RowLayout& key_rows, const RowLayout& rows_of_entries,
                              std::int64_t first_key, std::int64_t first_entry) const {
    const auto put = [&](const std::vector<float>& values, std::int64_t count, std::int64_t cols) {
      return b.upload_matrix(values, count, cols);
    };
    const Tensor queries = put(queries_, rows.total, s.heads * s.width);
    const Tensor latents = put(keys_, keys.total, s.width);
    Tensor entries, sets;
    if (seen_ != Seen::window) {
      entries =
          put(entries_, entry_rows.total, s.width).row_range(first_entry, rows_of_entries.total);
    }
    if (seen_ == Seen::chosen) {
      sets = b.upload(std::span<const std::int32_t>(sets_), rows.total, s.k)
                 .row_range(first_row, some.total);
    }
    const auto poison = std::vector<float>(count_of(some.total, s.heads * s.width), kPoison);
    const Tensor out = put(poison, some.total, s.heads * s.width);
    b.window_attention(some, {queries.row_range(first_row, some.total), s.heads, s.width, s.width},
                       {key_rows, latents.row_range(first_key, key_rows.total), s.window,
                        rows_of_entries, entries, sets},
                       1.5f / std::sqrt(static_cast<float>(s.width)),
                       {out, s.heads, s.width, s.width},
                       s.sinks ? b.upload(sinks_, 1, s.heads) : Tensor());
    return b.download(out);
  }

  Seen seen_;
  std::vector<float> queries_, keys_, entries_, sinks_;
  std::vector<std::int32_t> sets_;
};

void check(Precision precision, const Shape& s, Seen seen) {
  INFO(name_of(precision) << ", " << s.heads << " heads of " << s.width << ", window " << s.window
                          << ", ratio " << s.ratio << ", k " << s.k << ", " << name_of_seen(seen)
                          << (s.sinks ? ", sinks" : ""));
  Gpu gpu(precision);
  CpuBackend cpu;
  const WindowCase c(gpu, s, seen);
  CHECK_CLOSE(c.attended(gpu.backend), c.attended(cpu), gpu.tolerance(1e-5));
}

void check_rows_alone(Precision precision, const Shape& s, Seen seen) {
  INFO(name_of(precision) << ", " << s.heads << " heads of " << s.width << ", window " << s.window
                          << ", " << name_of_seen(seen));
  Gpu gpu(precision);
  const WindowCase c(gpu, s, seen);
  const std::vector<float> all = c.attended(gpu.backend);
  CHECK(c.attended(gpu.backend) == all);
  const std::int64_t width = s.heads * s.width;
  for (std::size_t sequence = 0; sequence < c.rows.segments.size(); ++sequence) {
    const Segment& segment = c.rows.segments[sequence];
    for (std::int64_t i = 0; i < segment.rows; i += 7) {
      const auto row = all.begin() + (segment.first_row + i) * width;
      CHECK(c.attended_alone(gpu.backend, sequence, i) == std::vector<float>(row, row + width));
    }
  }
}

constexpr Precision kPrecisions[] = {Precision::fp32, Precision::bf16};
constexpr Seen kSeen[] = {Seen::window, Seen::all, Seen::chosen};

}  // namespace

TEST_CASE("GPU entries are the CPU's means") {
  const RowLayout rows = pooled_sequences();
  for (const Precision precision : kPrecisions) {
    for (const Pooling& s : kPoolings) {
      INFO(name_of(precision) << ", ratio " << s.ratio << ", " << s.n << " -> " << s.width);
      Gpu gpu(precision);
      CpuBackend cpu;
      const RowLayout entries = entries_of(rows, s.ratio);
      const auto x = gpu.random(rows.total, 2 * s.n + 5, 94);
      auto bias = random_floats(count_of(s.ratio, s.n), 95);
      for (float& value : bias) value *= 4;
      const auto pooled = [&](Backend& b, DType type) {
        const std::vector<float> poison(count_of(entries.total, s.width), kPoison);
        const Tensor out = type == DType::f32 ? b.upload(poison, entries.total, s.width)
                                              : b.upload_matrix(poison, entries.total, s.width);
        // A view of some columns, as the sweep has it.
        b.pool_entries(rows, b.upload_matrix(x, rows.total, 2 * s.n + 5).columns(5, 2 * s.n),
                       b.upload(bias, s.ratio, s.n), entries, out);
        return b.download(out);
      };
      const auto expected = pooled(cpu, DType::f32);
      CHECK_CLOSE(pooled(gpu.backend, DType::f32), expected, 1e-5);
      CHECK_CLOSE(pooled(gpu.backend, gpu.backend.activation()), expected, gpu.tolerance(1e-5));
    }
  }
}

TEST_CASE("GPU entries of a sequence have the same bits by themselves") {
  const RowLayout rows = pooled_sequences();
  for (const Precision precision : kPrecisions) {
    for (const Pooling& s : kPoolings) {
      Gpu gpu(precision);
      Backend& b = gpu.backend;
      const Tensor x = b.upload_matrix(gpu.random(rows.total, 2 * s.n, 96), rows.total, 2 * s.n);
      const Tensor bias = b.upload(random_floats(count_of(s.ratio, s.n), 97), s.ratio, s.n);
      const auto pooled = [&](const RowLayout& some, std::int64_t first) {
        const RowLayout entries = entries_of(some, s.ratio);
        const Tensor out = gpu.poisoned(entries.total, s.width);
        b.pool_entries(some, x.row_range(first, some.total), bias, entries, out);
        return b.download(out);
      };
      const auto all = pooled(rows, 0);
      const auto last = pooled(whole_sequences({141}), rows.total - 141);
      REQUIRE(last.size() <= all.size());
      CHECK(std::equal(last.begin(), last.end(),
                       all.end() - static_cast<std::ptrdiff_t>(last.size())));
    }
  }
}

// The general kernel, that of whole sixteens, and that of released models on Hopper.
TEST_CASE("GPU attention over a window and entries", "[large]") {
  for (const Precision precision : kPrecisions) {
    for (const Seen seen : kSeen) {
      for (const Shape& s : {Shape{5, 40, 12, 4, 7},
                             {4, 32, 12, 4, 6},
                             {3, 36, 1, 3, 1},
                             {17, 208, 70, 4, 33},
                             {9, 128, 500, 4, 20, false}}) {
        check(precision, s, seen);
      }
    }
  }
}

TEST_CASE("GPU attention over a window and entries at 512, the width of released models",
          "[large]") {
  for (const Precision precision : kPrecisions) {
    for (const Seen seen : kSeen) {
      for (const std::int64_t heads : {1, 20, 64, 70, 128}) {
        check(precision, {heads, 512, 128, 4, 40}, seen);
      }
      for (const std::int64_t window : {1, 7, 47, 48, 49, 130}) {
        check(precision, {64, 512, window, 4, 50}, seen);
        check(precision, {64, 512, window, 128, 3, false}, seen);
      }
    }
    check(precision, {64, 512, 128, 4, 512}, Seen::chosen);
  }
}

TEST_CASE("GPU attention over a window and entries gives a query the same bits by itself",
          "[large]") {
  for (const Precision precision : kPrecisions) {
    for (const Seen seen : kSeen) {
      for (const Shape& s : {Shape{4, 32, 12, 4, 6},
                             {5, 40, 12, 4, 7},
                             {20, 128, 33, 4, 20},
                             {64, 512, 128, 4, 60},
                             {70, 512, 5, 4, 60}}) {
        check_rows_alone(precision, s, seen);
      }
    }
  }
}
