// SPDX-License-Identifier: Apache-2.0
// Operands of dense attention over ragged sequences, as the decoder lays them out: queries with a
// gap after each head, and the rotated part of the keys as columns of a wider tensor.
#pragma once

#include "backend/backend.h"
#include "support/random.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace indexcache::test {

struct CausalShape {
  std::int64_t heads, nope, rope, value;
  std::int64_t gap = 16;  // columns after a head's query, and before the rotated part of a key

  std::int64_t query_stride() const { return nope + rope + gap; }
  std::int64_t query_cols() const { return heads * query_stride(); }
};

struct CausalCase {
  // How many queries, and from which position on.
  using Queries = std::pair<std::int64_t, std::int64_t>;

  // `rounded` makes numbers what the backend's type can represent.
  template <typename Rounding>
  CausalCase(CausalShape shape_of, const std::vector<Queries>& sequences, bool with_sinks,
             const Rounding& rounded)
      : shape(shape_of) {
    for (const auto& [count, first] : sequences) {
      rows.append(count, first);
      keys.append(first + count, 0);
    }
    const auto random = [&](std::int64_t count, std::int64_t cols, std::uint32_t seed) {
      return rounded(random_floats(static_cast<std::size_t>(count * cols), seed));
    };
    queries = random(rows.total, shape.query_cols(), 1);
    nope = random(keys.total, shape.heads * shape.nope, 2);
    rope = random(keys.total, shape.rope, 3);
    values = random(keys.total, shape.heads * shape.value, 4);
    scale = 3.0f / std::sqrt(static_cast<float>(shape.nope + shape.rope));
    // From one that nobody notices to one that takes nearly everything.
    for (std::int64_t h = 0; with_sinks && h < shape.heads; ++h) {
      sinks.push_back(static_cast<float>(h % 9) * 2 - 8);
    }
  }
  CausalCase(CausalShape shape_of, const std::vector<Queries>& sequences, bool with_sinks)
      : CausalCase(shape_of, sequences, with_sinks, [](auto numbers) { return numbers; }) {}

  // Results of `part`, whose first row is row `first_row` of all, without gaps. What attention does
  // not write is NaN.
  std::vector<float> attend(Backend& backend, const RowLayout& part,
                            std::int64_t first_row = 0) const {
    return attend(backend, part, first_row, keys, 0);
  }

  // The same of one sequence, with a key tensor of its own.
  std::vector<float> attend_alone(Backend& backend, std::size_t sequence) const {
    const Segment &own = rows.segments[sequence], &own_keys = keys.segments[sequence];
    RowLayout part, part_keys;
    part.append(own.rows, own.first_position);
    part_keys.append(own_keys.rows, 0);
    return attend(backend, part, own.first_row, part_keys, own_keys.first_row);
  }

  std::vector<float> rows_of(const std::vector<float>& all, std::size_t sequence) const {
    const std::int64_t width = shape.heads * shape.value;
    const auto first = all.begin() + rows.segments[sequence].first_row * width;
    return {first, first + rows.segments[sequence].rows * width};
  }

  CausalShape shape;
  RowLayout rows, keys;
  std::vector<float> queries, nope, rope, values, sinks;
  float scale;

 private:
  std::vector<float> attend(Backend& b, const RowLayout& part, std::int64_t first_row,
                            const RowLayout& key_rows, std::int64_t first_key) const {
    const auto put = [&](const std::vector<float>& numbers, std::int64_t cols, std::int64_t first,
                         std::int64_t count) {
      const auto total = static_cast<std::int64_t>(numbers.size()) / cols;
      return b.upload_matrix(numbers, total, cols).row_range(first, count);
    };
    const auto key_part = [&](const std::vector<float>& numbers, std::int64_t cols) {
      return put(numbers, cols, first_key, key_rows.total);
    };
    const CausalShape& s = shape;
    std::vector<float> wide;  // the rotated part in the last columns
    for (std::size_t i = 0; i < rope.size(); ++i) {
      if (i % static_cast<std::size_t>(s.rope) == 0) {
        wide.insert(wide.end(), static_cast<std::size_t>(s.gap), kNothing);
      }
      wide.push_back(rope[i]);
    }
    const std::vector<float> poison(static_cast<std::size_t>(part.total * s.heads * s.value),
                                    kNothing);
    const Tensor out = b.upload_matrix(poison, part.total, s.heads * s.value);
    b.causal_attention(part,
                       {put(queries, s.query_cols(), first_row, part.total), s.heads,
                        s.query_stride(), s.nope + s.rope},
                       key_rows,
                       {{key_part(nope, s.heads * s.nope), s.heads, s.nope, s.nope},
                        key_part(wide, s.gap + s.rope).columns(s.gap, s.rope),
                        {key_part(values, s.heads * s.value), s.heads, s.value, s.value}},
                       scale, {out, s.heads, s.value, s.value},
                       sinks.empty() ? Tensor() : b.upload(sinks, 1, s.heads));
    return b.download(out);
  }

  static constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();
};

}  // namespace indexcache::test
