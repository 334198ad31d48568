// SPDX-License-Identifier: Apache-2.0
// The operands of tests/golden/hisa.json, as its generator make_hisa.py has them, and selection
// from them on any backend.
#pragma once

#include "backend/backend.h"
#include "io/files.h"
#include "io/json.h"
#include "support/files.h"

#include <cstdint>
#include <span>
#include <vector>

namespace indexcache::test {

// Multiples of 1/8 in [-1, 1]: sums of their products are exact in float32.
class Eighths {
 public:
  explicit Eighths(std::uint32_t seed) : state_(seed) {}

  std::vector<float> take(std::int64_t count) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < count; ++i) {
      state_ = state_ * 1664525u + 1013904223u;
      values.push_back(static_cast<float>((state_ >> 16) % 17) / 8 - 1);
    }
    return values;
  }

 private:
  std::uint32_t state_;
};

struct HisaShape {
  std::int64_t heads, width, k;
};

// Queries at given positions of some sequences, with keys for all positions so far.
struct HisaCase {
  // First position and number of queries of each sequence.
  using Queries = std::vector<std::pair<std::int64_t, std::int64_t>>;
  using Sets = std::vector<std::int32_t>;

  HisaCase(const Queries& queries_of, const HisaShape& of, std::uint32_t seed = 23,
           std::int64_t positions_per_key = 1)
      : shape(of) {
    for (const auto& [first, count] : queries_of) {
      rows.append(count, first);
      keys.append((first + count) / positions_per_key, 0, positions_per_key);
    }
    Eighths random(seed);
    queries = random.take(rows.total * shape.heads * shape.width);
    head_weights = random.take(rows.total * shape.heads);
    key_values = random.take(keys.total * shape.width);
  }

  // Without a method: exactly.
  Sets selected(Backend& b, const IndexerMethod& method) const {
    const std::vector<std::int32_t> poison(static_cast<std::size_t>(rows.total * shape.k), -77);
    const Tensor sets = b.upload(std::span<const std::int32_t>(poison), rows.total, shape.k);
    const Tensor q = b.upload_matrix(queries, rows.total, shape.heads * shape.width);
    const Tensor w = b.upload(head_weights, rows.total, shape.heads);
    const Tensor k = b.upload_matrix(key_values, keys.total, shape.width);
    if (method) {
      b.hisa_topk(rows, q, w, keys, k, *method, sets);
    } else {
      b.index_topk(rows, q, w, keys, k, sets);
    }
    return b.download_indices(sets);
  }

  // Calls body(row, candidates) for every query.
  template <typename Body>
  void for_rows(const Body& body) const {
    for (std::size_t s = 0; s < rows.segments.size(); ++s) {
      const Segment& segment = rows.segments[s];
      for (std::int64_t i = 0; i < segment.rows; ++i) {
        body(segment.first_row + i, keys.segments[s].candidates(segment.position(i)));
      }
    }
  }

  std::span<const std::int32_t> set_of(const Sets& sets, std::int64_t row) const {
    return std::span(sets).subspan(static_cast<std::size_t>(row * shape.k),
                                   static_cast<std::size_t>(shape.k));
  }

  HisaShape shape;
  RowLayout rows, keys;
  std::vector<float> queries, head_weights, key_values;
};

// What another program selects (tests/golden/make_hisa.py).
struct HisaGolden {
  HisaGolden() {
    const std::string path = golden("hisa.json").string();
    const Json json = parse_json(read_file(path), path);
    for (const Json& of : json.at("queries")) queries.emplace_back(of.at(0), of.at(1));
    shape = {json.at("heads"), json.at("width"), json.at("k")};
    hisa = {json.at("block"), json.at("blocks")};
    seed = json.at("seed");
    sets = flat(json.at("sets"));
    fp8_sets = flat(json.at("fp8_sets"));
  }

  HisaCase operands() const { return {queries, shape, seed}; }

  HisaCase::Queries queries;
  HisaShape shape{};
  Hisa hisa;
  std::uint32_t seed = 0;
  HisaCase::Sets sets, fp8_sets;  // [rows, k] in float32, and as FP8 indexers are deployed

 private:
  static HisaCase::Sets flat(const Json& rows) {
    HisaCase::Sets all;
    for (const Json& row : rows) {
      for (const Json& member : row) all.push_back(member);
    }
    return all;
  }
};

}  // namespace indexcache::test
