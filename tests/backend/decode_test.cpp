// SPDX-License-Identifier: Apache-2.0
// Decode over paged caches on the CPU: the layouts by their definitions, the selection of prefill,
// and its attention.
#include "backend/cpu/cpu_backend.h"
#include "support/compare.h"
#include "support/fp8.h"
#include "support/paged_case.h"

#include <bit>
#include <cstring>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Around the size of a page, and one position.
const std::vector<std::int64_t> kLengths = {200, 1, 64, 65, 129, 8};

double nearest_bf16(double x) {
  if (x == 0) return 0;
  int exponent = 0;
  std::frexp(x, &exponent);
  const double step = std::ldexp(1.0, exponent - 8);
  return std::nearbyint(x / step) * step;
}

struct Fp8Vector {
  double scale;
  std::vector<double> numbers;
};

// By the definition: a product with the matrix of Hadamard.
Fp8Vector fp8_index_vector(const float* x, std::int64_t width) {
  Fp8Vector out{1, {}};
  double peak = 1e-4;
  for (std::int64_t i = 0; i < width; ++i) {
    double sum = 0;
    for (std::int64_t j = 0; j < width; ++j) {
      const int sign = std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 0 ? 1 : -1;
      sum += sign * nearest_bf16(x[j]);
    }
    out.numbers.push_back(nearest_bf16(sum / std::sqrt(static_cast<double>(width))));
    peak = std::max(peak, std::abs(out.numbers.back()));
  }
  out.scale = std::exp2(std::ceil(std::log2(peak / 448)));
  for (double& number : out.numbers) number = nearest_e4m3(number / out.scale);
  return out;
}

float float_at(const std::vector<std::uint8_t>& bytes, std::size_t at) {
  float value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::vector<std::uint8_t> page_bytes(Device& b, const PagedCache& cache) {
  const auto words = page_words(b, cache);
  std::vector<std::uint8_t> bytes(words.size() * 4);
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

// Calls body(first byte of the page, row within it, row of the keys) for all positions.
template <typename Body>
void for_positions(const PagedSequences& of, const PageFormat& format, const Body& body) {
  std::int64_t key = 0;
  for (std::int64_t s = 0; s < of.count(); ++s) {
    for (std::int64_t t = 0; t < of.lengths[static_cast<std::size_t>(s)]; ++t, ++key) {
      const auto page =
          static_cast<std::size_t>(of.table[static_cast<std::size_t>(s * of.most + t / 64)]);
      body(page * static_cast<std::size_t>(format.page_bytes()), static_cast<std::size_t>(t % 64),
           key);
    }
  }
}

}  // namespace

TEST_CASE("the FP8 index cache has the layout of DeepGEMM's paged logits") {
  CpuBackend b(1);
  const PagedSequences sequences({70, 64, 3}, 1);
  const PagedIndexer indexer(sequences, 1, 128);
  const PageFormat format{PageLayout::index_fp8, DType::f8_e4m3, 128};
  CHECK(format.page_bytes() == 64 * 132);
  const auto bytes = page_bytes(b, indexer.cache(b, format));
  std::size_t wrong = 0;
  for_positions(sequences, format, [&](std::size_t page, std::size_t row, std::int64_t key) {
    const Fp8Vector expected = fp8_index_vector(indexer.keys.data() + key * 128, 128);
    if (float_at(bytes, page + 64 * 128 + row * 4) != expected.scale) ++wrong;
    for (std::size_t i = 0; i < 128; ++i) {
      if (e4m3_number(bytes[page + row * 128 + i]) != expected.numbers[i]) ++wrong;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("the FP8 latent cache has the layout of FlashMLA") {
  CpuBackend b(1);
  const PagedSequences sequences({66, 2}, 2);
  const PagedAttention attention(sequences, 1, 512, 576, 4, [](auto x) { return x; });
  const PageFormat format{PageLayout::latent_fp8, DType::f8_e4m3, 576};
  CHECK(format.position_bytes() == 656);
  const auto bytes = page_bytes(b, attention.cache(b, format));
  std::size_t wrong = 0;
  for_positions(sequences, format, [&](std::size_t page, std::size_t row, std::int64_t key) {
    const std::size_t at = page + row * 656;
    for (std::size_t g = 0; g < 4; ++g) {
      const auto expected = quantized_group(
          attention.keys.data() + key * 576 + static_cast<std::int64_t>(g) * 128, 128);
      if (float_at(bytes, at + 512 + 4 * g) != expected.scale) ++wrong;
      for (std::size_t i = 0; i < 128; ++i) {
        if (e4m3_number(bytes[at + g * 128 + i]) != expected.numbers[i]) ++wrong;
      }
    }
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t bits = bytes[at + 528 + 2 * i] | bytes[at + 529 + 2 * i] << 8;
      const float x = attention.keys[static_cast<std::size_t>(key) * 576 + 512 + i];
      if (std::bit_cast<float>(bits << 16) != static_cast<float>(nearest_bf16(x))) ++wrong;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("decode selects what prefill selects, wherever pages are and in any type") {
  const auto type = GENERATE(Precision::fp32, Precision::bf16, Precision::fp8, Precision::fp4);
  const std::int64_t width = type == Precision::fp32 ? 20 : 64;
  INFO(name_of(type));
  CpuBackend b(2, Precision::fp32, type);
  for (const std::int64_t k : {5, 64, 100}) {
    for (const std::uint32_t seed : {3u, 4u}) {
      const PagedSequences sequences(kLengths, seed);
      const PagedIndexer indexer(sequences, 3, width);
      const PagedCache cache = indexer.cache(b, b.index_page_format(width));
      const auto sets = indexer.decoded(b, cache, k);
      CHECK(sets == indexer.expected(b, k));
      for (std::int64_t s = 0; s < sequences.count(); ++s) {
        const auto own = indexer.decoded(b, cache, k, s);
        CHECK(std::ranges::equal(own, std::span(sets).subspan(static_cast<std::size_t>(s * k),
                                                              static_cast<std::size_t>(k))));
      }
    }
  }
}

// Scores of rotated e4m3 numbers are not exact: members whose score differs from the k-th best one
// by less than the error of float32 may be in a set or not.
TEST_CASE("decode with an FP8 index cache selects by the scores of its numbers") {
  CpuBackend b(2);
  constexpr std::int64_t kHeads = 4, kWidth = 64, kMembers = 30;
  const PagedSequences sequences({200, 65, 31}, 5);
  const PagedIndexer indexer(sequences, kHeads, kWidth);
  const PagedCache cache = indexer.cache(b, {PageLayout::index_fp8, DType::f8_e4m3, kWidth});
  const auto sets = indexer.decoded(b, cache, kMembers);
  std::int64_t first_key = 0;
  for (std::int64_t s = 0; s < sequences.count(); ++s) {
    const std::int64_t length = sequences.lengths[static_cast<std::size_t>(s)];
    std::vector<double> scores;
    for (std::int64_t u = 0; u < length; ++u) {
      const Fp8Vector key =
          fp8_index_vector(indexer.keys.data() + (first_key + u) * kWidth, kWidth);
      double score = 0;
      for (std::int64_t h = 0; h < kHeads; ++h) {
        const Fp8Vector query =
            fp8_index_vector(indexer.queries.data() + (s * kHeads + h) * kWidth, kWidth);
        const double dot = std::inner_product(query.numbers.begin(), query.numbers.end(),
                                              key.numbers.begin(), 0.0);
        score += indexer.weights[static_cast<std::size_t>(s * kHeads + h)] * query.scale *
                 std::max(dot, 0.0);
      }
      scores.push_back(score * key.scale);
    }
    std::vector<double> best = scores;
    std::ranges::sort(best, std::greater());
    const double limit = best[kMembers - 1];
    const double error = 1e-5 * std::max(std::abs(best.front()), std::abs(best.back()));
    const auto set = std::span(sets).subspan(static_cast<std::size_t>(s) * kMembers, kMembers);
    CHECK(std::ranges::is_sorted(set, std::less_equal()));
    for (std::int64_t u = 0; u < length; ++u) {
      const double score = scores[static_cast<std::size_t>(u)];
      const bool member = std::ranges::binary_search(set, static_cast<std::int32_t>(u));
      if (std::abs(score - limit) > error) CHECK(member == (score > limit));
    }
    first_key += length;
  }
}

TEST_CASE("decode attends as prefill does, with sinks and without") {
  CpuBackend b(2);
  for (const std::int64_t k : {1, 33, 100}) {
    for (const bool sinks : {false, true}) {
      const PagedSequences sequences(kLengths, 6);
      const PagedAttention attention(sequences, 5, 24, 32, k, [](auto x) { return x; });
      const PagedCache cache = attention.cache(b, {PageLayout::plain, DType::f32, 32});
      const auto out = attention.decoded(b, cache, sinks);
      INFO("k " << k << ", sinks " << sinks);
      CHECK_CLOSE(out, attention.expected(b, sinks), 1e-6);
      CHECK(attention.decoded(b, cache, sinks, 4) ==
            std::vector(out.begin() + 4 * 5 * 24, out.begin() + 5 * 5 * 24));
    }
  }
}

TEST_CASE("decode attends to what an FP8 latent cache holds") {
  CpuBackend b(2);
  const PagedSequences sequences({130, 40}, 7);
  PagedAttention attention(sequences, 4, 512, 576, 50, [](auto x) { return x; });
  const PagedCache cache = attention.cache(b, {PageLayout::latent_fp8, DType::f8_e4m3, 576});
  const auto actual = attention.decoded(b, cache, false);
  CHECK(difference(actual, attention.expected(b, false), 1e-3) != "");
  CHECK_CLOSE(actual, attention.expected(b, false), 0.05);
  for (std::size_t row = 0; row < attention.keys.size() / 576; ++row) {
    float* key = attention.keys.data() + row * 576;
    for (std::int64_t g = 0; g < 4; ++g) {
      const auto group = quantized_group(key + g * 128, 128);
      for (std::size_t i = 0; i < 128; ++i) {
        key[g * 128 + static_cast<std::int64_t>(i)] =
            static_cast<float>(group.numbers[i]) * group.scale;
      }
    }
    for (int i = 512; i < 576; ++i) key[i] = static_cast<float>(nearest_bf16(key[i]));
  }
  CHECK_CLOSE(actual, attention.expected(b, false), 1e-6);
}
