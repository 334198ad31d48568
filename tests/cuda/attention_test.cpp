// SPDX-License-Identifier: Apache-2.0
// Sparse attention: the GPU's kernels against the CPU backend.
#include "backend/gpu_scratch.h"
#include "backend/row_chunks.h"
#include "cuda/gpu.h"
#include "kernels/architecture.h"
#include "kernels/sparse_attention.h"

#include <algorithm>
#include <numeric>
#include <random>

using namespace indexcache;
using namespace indexcache::test;

namespace {

struct Shape {
  std::int64_t heads, rank, rope, k;
  bool dense = false;
  bool sinks = false;
};

// From one that nobody notices to one that takes nearly everything.
std::vector<float> sinks_of(std::int64_t heads) {
  std::vector<float> sinks;
  for (std::int64_t h = 0; h < heads; ++h) sinks.push_back(static_cast<float>(h % 9) * 2 - 8);
  return sinks;
}

// k ascending positions of [0, last], the same for the same seed.
std::vector<std::int32_t> random_set(std::int64_t k, std::int64_t last, std::uint32_t seed) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(last) + 1);
  std::iota(all.begin(), all.end(), 0);
  std::mt19937 engine(seed);
  for (std::size_t i = 0; i < static_cast<std::size_t>(k); ++i) {
    std::swap(all[i], all[i + engine() % (all.size() - i)]);
  }
  all.resize(static_cast<std::size_t>(k));
  std::ranges::sort(all);
  return all;
}

// `factor`: of the usual scale.
void check(Precision precision, const Shape& s, float factor = 1.5f) {
  INFO(name_of(precision) << " heads " << s.heads << ", " << s.rank << " + " << s.rope << ", k "
                          << s.k << (s.dense ? ", dense" : "") << (s.sinks ? ", sinks" : ""));
  Gpu gpu(precision);
  RowLayout rows, keys;
  std::vector<std::int32_t> sets;
  for (const std::int64_t length : {s.k + 37, s.k + 2}) {
    const std::int64_t first = s.dense ? 0 : s.k;
    rows.append(length - first, first);
    keys.append(length, 0);
    for (std::int64_t t = first; !s.dense && t < length; ++t) {
      const auto set = random_set(s.k, t, static_cast<std::uint32_t>(t));
      sets.insert(sets.end(), set.begin(), set.end());
    }
  }
  const std::int64_t width = s.rank + s.rope;
  const auto q = gpu.random(rows.total, s.heads * width, 61);
  auto c = gpu.random(keys.total, width, 62);
  const float scale = factor / std::sqrt(static_cast<float>(width));
  compare_backends(gpu, gpu.tolerance(1e-5), [&](Backend& b, auto put, auto poison) {
    const Tensor latents = put(c, keys.total, width);
    const Tensor out = poison(rows.total, s.heads * s.rank);
    const Tensor selected =
        s.dense ? Tensor() : b.upload(std::span<const std::int32_t>(sets), rows.total, s.k);
    b.sparse_attention(rows, {put(q, rows.total, s.heads * width), s.heads, width, width}, keys,
                       latents, latents.columns(0, s.rank), selected, scale,
                       {out, s.heads, s.rank, s.rank},
                       s.sinks ? b.upload(sinks_of(s.heads), 1, s.heads) : Tensor());
    return out;
  });
}

// Queries of several sequences together and one by one; k 0: over all causal positions.
void check_neighbors(Precision precision, const Shape& s) {
  INFO(name_of(precision) << " heads " << s.heads << ", " << s.rank << " + " << s.rope << ", k "
                          << s.k);
  Gpu gpu(precision);
  Backend& b = gpu.backend;
  const std::int64_t width = s.rank + s.rope;
  RowLayout rows, keys;
  std::vector<std::int32_t> sets;
  for (const auto& [queries, first] : {std::pair{70, 0}, {73, 60}, {1, 0}, {1, 1}, {3, 128}}) {
    rows.append(queries, s.k + first);
    keys.append(s.k + first + queries, 0);
    for (std::int64_t t = s.k + first; t < s.k + first + queries; ++t) {
      const auto set = random_set(s.k, t, static_cast<std::uint32_t>(t));
      sets.insert(sets.end(), set.begin(), set.end());
    }
  }
  const auto put = [&](std::int64_t count, std::int64_t cols, std::uint32_t seed) {
    return b.upload_matrix(gpu.random(count, cols, seed), count, cols);
  };
  const Tensor q = put(rows.total, s.heads * width, 63), latents = put(keys.total, width, 64);
  const Tensor selected =
      s.k == 0 ? Tensor() : b.upload(std::span<const std::int32_t>(sets), rows.total, s.k);
  const auto attend = [&](const RowLayout& part, std::int64_t first, const RowLayout& key_rows,
                          const Tensor& cache) {
    const Tensor out = gpu.poisoned(part.total, s.heads * s.rank);
    const Tensor own = s.k == 0 ? Tensor() : selected.row_range(first, part.total);
    b.sparse_attention(part, {q.row_range(first, part.total), s.heads, width, width}, key_rows,
                       cache, cache.columns(0, s.rank), own, 0.1f, {out, s.heads, s.rank, s.rank});
    return b.download(out);
  };
  const std::vector<float> all = attend(rows, 0, keys, latents);
  for (std::size_t i = 0; i < rows.segments.size(); ++i) {
    const Segment& segment = rows.segments[i];
    RowLayout own_keys;
    own_keys.append(keys.segments[i].rows, 0);
    const Tensor cache = latents.row_range(keys.segments[i].first_row, own_keys.total);
    for (std::int64_t r = 0; r < segment.rows; ++r) {
      RowLayout one;
      one.append(1, segment.first_position + r);
      const std::int64_t row = segment.first_row + r;
      const auto size = static_cast<std::size_t>(s.heads * s.rank);
      const std::span expected(all.begin() + row * s.heads * s.rank, size);
      CHECK(std::ranges::equal(attend(one, row, own_keys, cache), expected));
    }
  }
}

// Sequences whose queries have sets that could be packed.
struct Packable {
  RowLayout rows, keys;
  std::vector<std::int32_t> sets;
};

constexpr std::int64_t kBefore = 3000;  // positions before the first query

void append_sequence(Packable& made, std::int64_t queries, std::int64_t before = kBefore) {
  made.rows.append(queries, before);
  made.keys.append(before + queries, 0);
}

// Every third run of seven queries has unrelated sets, which are no pack; the others share nine
// tenths with the query before.
Packable similar_sets(std::int64_t k, std::int64_t before = kBefore) {
  Packable made;
  std::mt19937 engine(71);
  for (const std::int64_t queries : {300, 3, 1, 257, 2}) {
    append_sequence(made, queries, before);
    std::vector<std::int32_t> set;
    for (std::int64_t i = 0; i < queries; ++i) {
      if (i / 7 % 3 == 2 || set.empty()) {
        set = random_set(k, before + i, static_cast<std::uint32_t>(made.sets.size() + 1));
      }
      for (std::int64_t changes = 0; changes < k / 10; ++changes) {
        const auto other = static_cast<std::int32_t>(engine() % (before + 1));
        if (std::ranges::find(set, other) == set.end()) set[engine() % set.size()] = other;
      }
      std::ranges::sort(set);
      made.sets.insert(made.sets.end(), set.begin(), set.end());
    }
  }
  return made;
}

// Every other query has the first k keys, the rest the following k: neither the first nor the last
// keys of a pack are of all of its queries.
Packable disjoint_sets(std::int64_t k) {
  Packable made;
  for (const std::int64_t queries : {300, 7}) {
    append_sequence(made, queries);
    for (std::int64_t i = 0; i < queries; ++i) {
      for (std::int64_t j = 0; j < k; ++j) {
        made.sets.push_back(static_cast<std::int32_t>(i % 2 * k + j));
      }
    }
  }
  return made;
}

// Against the CPU; then every sequence by itself, whole and cut where launches may be cut, must
// have the bits of all of them together.
void check_packed(const Shape& s, const Packable& made) {
  INFO("heads " << s.heads << ", " << s.rank << " + " << s.rope << ", k " << s.k
                << (s.sinks ? ", sinks" : ""));
  Gpu gpu(Precision::bf16);
  const std::int64_t width = s.rank + s.rope;
  const auto q = gpu.random(made.rows.total, s.heads * width, 72);
  const auto c = gpu.random(made.keys.total, width, 73);
  const float scale = 3.0f / std::sqrt(static_cast<float>(width));
  const std::vector<float> sinks = sinks_of(s.heads);
  const auto attend = [&](Backend& b, const RowLayout& rows, const Tensor& queries,
                          const RowLayout& key_rows, const Tensor& latents, const Tensor& sets,
                          const Tensor& out) {
    b.sparse_attention(rows, {queries, s.heads, width, width}, key_rows, latents,
                       latents.columns(0, s.rank), sets, scale, {out, s.heads, s.rank, s.rank},
                       s.sinks ? b.upload(sinks, 1, s.heads) : Tensor());
  };
  compare_backends(gpu, gpu.tolerance(1e-5), [&](Backend& b, auto put, auto poison) {
    const Tensor out = poison(made.rows.total, s.heads * s.rank);
    attend(b, made.rows, put(q, made.rows.total, s.heads * width), made.keys,
           put(c, made.keys.total, width),
           b.upload(std::span<const std::int32_t>(made.sets), made.rows.total, s.k), out);
    return out;
  });

  Backend& b = gpu.backend;
  const Tensor queries = b.upload_matrix(q, made.rows.total, s.heads * width);
  const Tensor latents = b.upload_matrix(c, made.keys.total, width);
  const Tensor sets = b.upload(std::span<const std::int32_t>(made.sets), made.rows.total, s.k);
  const Tensor all = gpu.poisoned(made.rows.total, s.heads * s.rank);
  attend(b, made.rows, queries, made.keys, latents, sets, all);
  const std::vector<float> expected = b.download(all);
  for (const std::int64_t most : {made.rows.total, kChunkGrain}) {
    const Tensor out = gpu.poisoned(made.rows.total, s.heads * s.rank);
    for (std::size_t i = 0; i < made.rows.segments.size(); ++i) {
      const Segment &segment = made.rows.segments[i], &seen = made.keys.segments[i];
      RowLayout own, own_keys;
      own.append(segment.rows, segment.first_position);
      own_keys.append(seen.rows, 0);
      for (const RowChunk& chunk : row_chunks(own, most)) {
        const std::int64_t row = segment.first_row + chunk.first_row;
        attend(b, chunk.rows, queries.row_range(row, chunk.rows.total), own_keys,
               latents.row_range(seen.first_row, seen.rows), sets.row_range(row, chunk.rows.total),
               out.row_range(row, chunk.rows.total));
      }
    }
    CHECK(b.download(out) == expected);
  }
}

}  // namespace

TEST_CASE("GPU attention over selected and over all causal positions") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const Shape& s : {Shape{6, 36, 4, 5},
                           {4, 96, 32, 128},
                           {1, 32, 8, 16},
                           {3, 136, 8, 33},
                           {17, 200, 64, 70},
                           {4, 96, 32, 130, true},
                           {5, 512, 64, 40, true}}) {
      check(precision, s);
    }
  }
}

TEST_CASE("GPU attention gives a query the same bits with other neighbors", "[large]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const std::int64_t heads : {1, 3, 4, 8, 9}) check_neighbors(precision, {heads, 96, 32, 0});
    for (const std::int64_t heads : {1, 20, 32, 64, 70, 128}) {
      check_neighbors(precision, {heads, 512, 64, 0});
      // Few heads in bf16 share tiles, see below.
      if (heads <= 32 && precision == Precision::bf16) continue;
      for (const std::int64_t k : {1, 47, 48, 97}) check_neighbors(precision, {heads, 512, 64, k});
    }
    check_neighbors(precision, {20, 96, 32, 97});
  }
}

TEST_CASE("GPU attention of queries that share tiles", "[large]") {
  const auto check_similar = [](const Shape& s) { check_packed(s, similar_sets(s.k)); };
  for (const std::int64_t heads : {1, 9, 16, 20, 21, 32}) {
    DYNAMIC_SECTION(heads << " heads of 512 + 64") {
      for (const std::int64_t k : {1, 40, 200}) check_similar({heads, 512, 64, k});
    }
  }
  for (const std::int64_t heads : {1, 3, 4, 5, 8}) {
    DYNAMIC_SECTION(heads << " heads of 96 + 32") {
      for (const std::int64_t k : {1, 40, 128}) check_similar({heads, 96, 32, k});
    }
  }
  SECTION("other widths, and sinks") {
    check_similar({4, 512, 32, 70});
    check_similar({4, 96, 32, 100, false, true});
    check_similar({20, 512, 64, 100, false, true});
  }
}

// Whole tiles of keys without one of the query come before its first or after its last.
TEST_CASE("GPU attention of queries that share tiles but no keys", "[large]") {
  for (const bool sinks : {false, true}) {
    for (const std::int64_t k : {40, 64, 130, 300}) {
      for (const std::int64_t heads : {9, 20, 32}) {
        check_packed({heads, 512, 64, k, false, sinks}, disjoint_sets(k));
      }
      for (const std::int64_t heads : {1, 4, 8}) {
        check_packed({heads, 96, 32, k, false, sinks}, disjoint_sets(k));
      }
    }
  }
}

// Sets of released models, and positions beyond what packs take in one window of bits.
TEST_CASE("GPU attention of queries that share tiles of long sequences", "[large]") {
  check_packed({20, 512, 64, 2048}, similar_sets(2048, 4900));
  check_packed({20, 512, 64, 40}, similar_sets(40, 70'000));
  check_packed({4, 96, 32, 40}, similar_sets(40, 140'000));
}

// Kernels decide it for tensors, plans for shapes.
TEST_CASE("plans of attention count the packs that the kernels make") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const Gpu gpu(precision);
    const DType type = gpu.backend.activation();
    for (std::int64_t heads = 1; heads <= 128; ++heads) {
      for (const Shape& s : {Shape{heads, 512, 64, 2048},
                             {heads, 512, 64, 40},
                             {heads, 512, 32, 40},
                             {heads, 448, 128, 40},
                             {heads, 96, 32, 40},
                             {heads, 36, 4, 5}}) {
        INFO(name_of(precision) << " heads " << heads << ", " << s.rank << " + " << s.rope);
        const std::int64_t width = s.rank + s.rope;
        ModelShape shape{};
        shape.heads = heads;
        shape.latent_width = width;
        shape.kv_lora_rank = s.rank;
        shape.index_topk = s.k;
        kernels::SparseAttentionParams p{};
        p.type = cuda::kernel_type(type);
        p.query_stride = heads * width;
        p.query_head_stride = width;
        p.key_stride = width;
        p.k = static_cast<int>(s.k);
        p.out_stride = heads * s.rank;
        p.out_head_stride = s.rank;
        p.heads = static_cast<int>(heads);
        p.key_width = static_cast<int>(width);
        p.value_width = static_cast<int>(s.rank);
        p.scale = 1;
        const kernels::PackedSets made = kernels::packing_of(p);
        const bool is_hopper = kernels::has_warpgroups();
        CHECK(set_packing(shape, type, is_hopper) == SetPacking{made.queries, made.keys_per_query});
        CHECK(gpu.backend.attention_row_bytes(shape) ==
              gpu_attention_row_bytes(gpu.backend, shape, is_hopper));
      }
    }
  }
}

TEST_CASE("GPU attention at 512 + 64, the shape of released models", "[large]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const std::int64_t heads : {1, 20, 24, 32, 33, 64, 70, 128}) {
      check(precision, {heads, 512, 64, 200});
    }
    for (const std::int64_t heads : {20, 64, 128}) check(precision, {heads, 512, 64, 2048});
    for (const std::int64_t heads : {20, 64}) {
      for (const std::int64_t k : {1, 47, 49, 64, 65, 96, 129, 512}) {
        check(precision, {heads, 512, 64, k});
      }
    }
    check(precision, {64, 512, 64, 130, true});
    // The kernel for Hopper takes positive scales only, others do the rest.
    for (const float factor : {0.0f, -1.5f}) check(precision, {20, 512, 64, 65}, factor);
  }
}

// The general kernel, that of whole sixteens (packed and not), and those for Hopper with few and
// with many heads; heads that fill no tile.
TEST_CASE("GPU attention with sinks", "[large]") {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const bool dense : {false, true}) {
      for (const Shape& s : {Shape{6, 36, 4, 5}, {4, 96, 32, 70}, {17, 192, 64, 70}}) {
        check(precision, {s.heads, s.rank, s.rope, s.k, dense, true});
      }
      for (const std::int64_t heads : {1, 20, 32, 33, 64, 70, 128}) {
        for (const std::int64_t k : {1, 47, 49, 65, 200}) {
          check(precision, {heads, 512, 64, k, dense, true});
        }
      }
    }
  }
}
