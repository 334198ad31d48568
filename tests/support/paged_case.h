// SPDX-License-Identifier: Apache-2.0
// Sequences whose keys lie in pages, and decode operations on them, on any backend.
#pragma once

#include "backend/backend.h"
#include "support/random.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace indexcache::test {

// Pages of ragged sequences, in random places of a pool in which some pages are nobody's.
struct PagedSequences {
  PagedSequences(std::vector<std::int64_t> of, std::uint32_t seed) : lengths(std::move(of)) {
    std::int64_t used = 0;
    for (const std::int64_t length : lengths) {
      most = std::max(most, pages_of(length));
      used += pages_of(length);
    }
    pages = used + 3;
    std::vector<std::int32_t> order(static_cast<std::size_t>(pages));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    for (const std::int64_t length : lengths) {
      std::vector<std::int32_t> row(static_cast<std::size_t>(most), -1);
      for (std::int64_t p = 0; p < pages_of(length); ++p) {
        row[static_cast<std::size_t>(p)] = order.back();
        order.pop_back();
      }
      table.insert(table.end(), row.begin(), row.end());
    }
  }

  std::int64_t count() const { return static_cast<std::int64_t>(lengths.size()); }
  // All positions of every sequence; the last one of each.
  RowLayout all_rows() const {
    RowLayout rows;
    for (const std::int64_t length : lengths) rows.append(length, 0);
    return rows;
  }
  RowLayout last_rows() const {
    RowLayout rows;
    for (const std::int64_t length : lengths) rows.append(1, length - 1);
    return rows;
  }
  RowLayout last_row_of(std::int64_t sequence) const {
    RowLayout rows;
    rows.append(1, lengths[static_cast<std::size_t>(sequence)] - 1);
    return rows;
  }
  Tensor tables(Device& b) const {
    return b.upload(std::span<const std::int32_t>(table), count(), most);
  }
  // Pages whose every number is NaN in every format.
  PagedCache poisoned(Device& b, const PageFormat& format) const {
    const std::int64_t words = format.page_bytes() / 4;
    const std::vector<std::int32_t> nan(static_cast<std::size_t>(pages * words), -1);
    const Tensor raw = b.upload(std::span<const std::int32_t>(nan), pages, words);
    return {format, raw.as(pages, format.page_bytes(), DType::u8)};
  }

  std::vector<std::int64_t> lengths;
  std::int64_t most = 0;  // pages of a sequence
  std::int64_t pages = 0;
  std::vector<std::int32_t> table;  // [sequences, most]
};

// The words of all pages.
inline std::vector<std::int32_t> page_words(Device& b, const PagedCache& cache) {
  return b.download_indices(
      cache.pages.as(cache.pages.rows(), cache.format.page_bytes() / 4, DType::i32));
}

inline std::vector<float> eighths(std::int64_t count, std::uint32_t seed) {
  auto values = random_floats(static_cast<std::size_t>(count), seed);
  for (float& value : values) value = std::round(value * 8) / 8;
  return values;
}

// Of the indexer. If numbers are `exact`, they are multiples of 1/8: float32 sums of their products
// are exact in any order, and scores have ties.
struct PagedIndexer {
  PagedIndexer(const PagedSequences& of, std::int64_t head_count, std::int64_t key_width,
               bool exact = true)
      : sequences(of), heads(head_count), width(key_width) {
    const auto numbers = [exact](std::int64_t count, std::uint32_t seed) {
      return exact ? eighths(count, seed) : random_floats(static_cast<std::size_t>(count), seed);
    };
    queries = numbers(of.count() * heads * width, 91);
    weights = numbers(of.count() * heads, 92);
    keys = numbers(of.all_rows().total * width, 93);
  }

  Tensor put(Backend& b, const std::vector<float>& values, std::int64_t rows) const {
    const auto cols = static_cast<std::int64_t>(values.size()) / rows;
    return b.index_activation() == DType::f32 ? b.upload(values, rows, cols)
                                              : b.upload_matrix(values, rows, cols);
  }

  PagedCache cache(Backend& b, const PageFormat& format) const {
    const PagedCache pages = sequences.poisoned(b, format);
    const RowLayout rows = sequences.all_rows();
    b.write_pages(rows, put(b, keys, rows.total), sequences.tables(b), pages);
    return pages;
  }

  std::vector<std::int32_t> decoded(Backend& b, const PagedCache& pages, std::int64_t k) const {
    const Tensor sets = poisoned_sets(b, sequences.count(), k);
    b.paged_topk(sequences.last_rows(), put(b, queries, sequences.count()),
                 b.upload(weights, sequences.count(), heads), sequences.tables(b), pages, sets);
    return b.download_indices(sets);
  }

  // Of one sequence, by itself.
  std::vector<std::int32_t> decoded(Backend& b, const PagedCache& pages, std::int64_t k,
                                    std::int64_t sequence) const {
    const Tensor sets = poisoned_sets(b, 1, k);
    b.paged_topk(sequences.last_row_of(sequence),
                 put(b, queries, sequences.count()).row_range(sequence, 1),
                 b.upload(weights, sequences.count(), heads).row_range(sequence, 1),
                 sequences.tables(b).row_range(sequence, 1), pages, sets);
    return b.download_indices(sets);
  }

  // What index_topk() selects for the same rows; of sequences with at most k positions all, then
  // -1.
  std::vector<std::int32_t> expected(Backend& b, std::int64_t k) const {
    std::vector<std::int32_t> all;
    const Tensor q = put(b, queries, sequences.count());
    const Tensor w = b.upload(weights, sequences.count(), heads);
    const Tensor key_rows = put(b, keys, sequences.all_rows().total);
    std::int64_t first = 0;
    for (std::int64_t s = 0; s < sequences.count(); ++s) {
      const std::int64_t length = sequences.lengths[static_cast<std::size_t>(s)];
      std::vector<std::int32_t> set(static_cast<std::size_t>(k), -1);
      if (length <= k) {
        std::iota(set.begin(), set.begin() + length, 0);
      } else {
        RowLayout own;
        own.append(length, 0);
        const Tensor sets = poisoned_sets(b, 1, k);
        b.index_topk(sequences.last_row_of(s), q.row_range(s, 1), w.row_range(s, 1), own,
                     key_rows.row_range(first, length), sets);
        set = b.download_indices(sets);
      }
      all.insert(all.end(), set.begin(), set.end());
      first += length;
    }
    return all;
  }

  static Tensor poisoned_sets(Backend& b, std::int64_t rows, std::int64_t k) {
    const std::vector<std::int32_t> poison(static_cast<std::size_t>(rows * k), -77);
    return b.upload(std::span<const std::int32_t>(poison), rows, k);
  }

  const PagedSequences& sequences;
  std::int64_t heads, width;
  std::vector<float> queries, weights, keys;
};

// Attention over random sets of ragged sequences. `round` makes numbers that the backends' types
// represent.
struct PagedAttention {
  template <typename Round>
  PagedAttention(const PagedSequences& of, std::int64_t head_count, std::int64_t value_columns,
                 std::int64_t key_columns, std::int64_t members, const Round& round)
      : sequences(of),
        heads(head_count),
        value_width(value_columns),
        width(key_columns),
        k(members),
        queries(
            round(random_floats(static_cast<std::size_t>(of.count() * heads * key_columns), 94))),
        keys(
            round(random_floats(static_cast<std::size_t>(of.all_rows().total * key_columns), 95))) {
    std::mt19937 engine(96);
    for (const std::int64_t length : of.lengths) {
      std::vector<std::int32_t> set(static_cast<std::size_t>(length));
      std::iota(set.begin(), set.end(), 0);
      std::shuffle(set.begin(), set.end(), engine);
      set.resize(static_cast<std::size_t>(std::min(k, length)));
      std::sort(set.begin(), set.end());
      set.resize(static_cast<std::size_t>(k), -1);
      sets.insert(sets.end(), set.begin(), set.end());
    }
    for (std::int64_t h = 0; h < heads; ++h) sinks.push_back(static_cast<float>(h % 9) * 2 - 8);
    scale = 1.5f / std::sqrt(static_cast<float>(width));
  }

  PagedCache cache(Backend& b, const PageFormat& format) const {
    const PagedCache pages = sequences.poisoned(b, format);
    const RowLayout rows = sequences.all_rows();
    b.write_pages(rows, b.upload_matrix(keys, rows.total, width), sequences.tables(b), pages);
    return pages;
  }

  std::vector<float> decoded(Backend& b, const PagedCache& pages, bool with_sinks) const {
    return decoded(b, pages, with_sinks, 0, sequences.count(), sequences.last_rows());
  }
  std::vector<float> decoded(Backend& b, const PagedCache& pages, bool with_sinks,
                             std::int64_t sequence) const {
    return decoded(b, pages, with_sinks, sequence, 1, sequences.last_row_of(sequence));
  }

  // sparse_attention() for the same rows, a sequence at a time.
  std::vector<float> expected(Backend& b, bool with_sinks) const {
    std::vector<float> all;
    const Tensor latents = b.upload_matrix(keys, sequences.all_rows().total, width);
    std::int64_t first = 0;
    for (std::int64_t s = 0; s < sequences.count(); ++s) {
      const std::int64_t length = sequences.lengths[static_cast<std::size_t>(s)];
      const Tensor own = latents.row_range(first, length), out = poisoned_out(b, 1);
      RowLayout key_rows;
      key_rows.append(length, 0);
      b.sparse_attention(sequences.last_row_of(s), query_heads(b, s, 1), key_rows, own,
                         own.columns(0, value_width), length < k ? Tensor() : set_rows(b, s, 1),
                         scale, {out, heads, value_width, value_width},
                         with_sinks ? b.upload(sinks, 1, heads) : Tensor());
      const auto values = b.download(out);
      all.insert(all.end(), values.begin(), values.end());
      first += length;
    }
    return all;
  }

  const PagedSequences& sequences;
  std::int64_t heads, value_width, width, k;
  std::vector<float> queries, keys, sinks;
  std::vector<std::int32_t> sets;
  float scale;

 private:
  Heads query_heads(Backend& b, std::int64_t first, std::int64_t count) const {
    const Tensor all = b.upload_matrix(queries, sequences.count(), heads * width);
    return {all.row_range(first, count), heads, width, width};
  }
  Tensor set_rows(Backend& b, std::int64_t first, std::int64_t count) const {
    return b.upload(std::span<const std::int32_t>(sets), sequences.count(), k)
        .row_range(first, count);
  }
  Tensor poisoned_out(Backend& b, std::int64_t rows) const {
    return b.upload_matrix(
        std::vector<float>(static_cast<std::size_t>(rows * heads * value_width), NAN), rows,
        heads * value_width);
  }
  std::vector<float> decoded(Backend& b, const PagedCache& pages, bool with_sinks,
                             std::int64_t first, std::int64_t count, const RowLayout& rows) const {
    const Tensor out = poisoned_out(b, count);
    b.paged_attention(rows, query_heads(b, first, count),
                      sequences.tables(b).row_range(first, count), pages, set_rows(b, first, count),
                      scale, {out, heads, value_width, value_width},
                      with_sinks ? b.upload(sinks, 1, heads) : Tensor());
    return b.download(out);
  }
};

}  // namespace indexcache::test
