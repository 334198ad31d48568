// SPDX-License-Identifier: Apache-2.0
// Positions of paged caches (backend/paged_cache.h) in memory: how a key is encoded and what it is
// worth.
#pragma once

#include "backend/cpu/arithmetic/e4m3.h"
#include "backend/cpu/arithmetic/round_index.h"
#include "backend/paged_cache.h"
#include "core/narrow.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace indexcache::cpu {

// The parts of one position in a page.
struct PagePlace {
  std::uint8_t* numbers;
  std::uint8_t* scales;  // of the FP8 layouts
  std::uint8_t* rope;    // of latent_fp8
};

// `position` of the sequence whose pages `table` names.
inline PagePlace place_of(const PagedCache& cache, const std::int32_t* table,
                          std::int64_t position) {
  const PageFormat& format = cache.format;
  std::uint8_t* page =
      cache.pages.data<std::uint8_t>() + table[position / kPagePositions] * format.page_bytes();
  const std::int64_t row = position % kPagePositions;
  switch (format.layout) {
    case PageLayout::index_fp8:
      return {page + row * format.width, page + kPagePositions * format.width + row * 4, nullptr};
    case PageLayout::latent_fp8: {
      std::uint8_t* start = page + row * format.position_bytes();
      return {start, start + kLatentFp8Rank,
              start + kLatentFp8Rank + kLatentFp8Rank / kLatentFp8Group * 4};
    }
    default:
      return {page + row * format.position_bytes(), nullptr, nullptr};
  }
}

inline float scale_at(const PagePlace& place, std::int64_t i) {
  float scale = 0;
  std::memcpy(&scale, place.scales + 4 * i, sizeof scale);
  return scale;
}

inline void write_latent(const float* x, const PagePlace& place) {
  for (std::int64_t group = 0; group < kLatentFp8Rank / kLatentFp8Group; ++group) {
    const float* of_group = x + group * kLatentFp8Group;
    const float scale = largest_magnitude(of_group, kLatentFp8Group, 1e-10f) / kLargestE4m3;
    std::memcpy(place.scales + 4 * group, &scale, sizeof scale);
    for (std::int64_t i = 0; i < kLatentFp8Group; ++i) {
      place.numbers[group * kLatentFp8Group + i] = float_to_e4m3(of_group[i] / scale);
    }
  }
  for (std::int64_t i = 0; i < kLatentFp8Rope; ++i) {
    const std::uint16_t bits = float_to_bf16(x[kLatentFp8Rank + i]);
    std::memcpy(place.rope + 2 * i, &bits, sizeof bits);
  }
}

// The numbers of a position; those of index_fp8 without their scale.
inline void read_position(const PageFormat& format, const PagePlace& place, float* out) {
  switch (format.layout) {
    case PageLayout::plain:
      std::memcpy(out, place.numbers, static_cast<std::size_t>(format.position_bytes()));
      break;
    case PageLayout::index_fp8:
      for (std::int64_t i = 0; i < format.width; ++i) out[i] = kE4m3[place.numbers[i]];
      break;
    case PageLayout::latent_fp8:
      for (std::int64_t i = 0; i < kLatentFp8Rank; ++i) {
        out[i] = kE4m3[place.numbers[i]] * scale_at(place, i / kLatentFp8Group);
      }
      for (std::int64_t i = 0; i < kLatentFp8Rope; ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, place.rope + 2 * i, sizeof bits);
        out[kLatentFp8Rank + i] = bf16_to_float(bits);
      }
      break;
  }
}

}  // namespace indexcache::cpu
