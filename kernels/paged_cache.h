// SPDX-License-Identifier: Apache-2.0
// Keys of sequences that are being decoded, in pages of kPagePositions consecutive positions.
// `tables`, i32 [sequences, tables_stride], names the pages of a sequence in the order of
// positions. Three layouts of a page:
//   rows        kPagePositions rows of numbers of one type
//   index_fp8   kPagePositions rows of `width` e4m3 numbers, then their f32 scales (DeepGEMM's
//               fp8_paged_mqa_logits)
//   latent_fp8  per position 512 e4m3 numbers, 4 f32 scales of 128 of them each, and 64 bf16
//               numbers: 656 bytes (FlashMLA); scale = max(max |x|, 1e-10) / 448
#pragma once

#include "kernels/types.h"

namespace indexcache::kernels {

inline constexpr int kPagePositions = 64;
inline constexpr int kLatentRank = 512;  // of latent_fp8
inline constexpr int kLatentRope = 64;
inline constexpr int kLatentGroup = 128;
inline constexpr int kLatentScales = kLatentRank / kLatentGroup;
inline constexpr int kLatentBytes = kLatentRank + 4 * kLatentScales + 2 * kLatentRope;
inline constexpr int kPageCopyUnit = 8;  // bytes of numbers that a position has a multiple of

enum class PageKind { rows, index_fp8, latent_fp8 };

struct Pages {
  void* data;  // [pages], 16-byte aligned
  PageKind kind;
  int position_bytes;  // of the numbers of a position, a multiple of kPageCopyUnit
  const std::int32_t* tables;
  std::int64_t tables_stride;

  __host__ __device__ std::int64_t page_bytes() const {
    const int scale_bytes = kind == PageKind::index_fp8 ? 4 : 0;
    return std::int64_t{kPagePositions} * (position_bytes + scale_bytes);
  }
  // The numbers of a position of a sequence, and the scale of its row, of index_fp8.
  __device__ char* numbers(int sequence, int position) const {
    const std::int64_t page = tables[sequence * tables_stride + position / kPagePositions];
    return static_cast<char*>(data) + page * page_bytes() +
           std::int64_t{position % kPagePositions} * position_bytes;
  }
  __device__ float* scale(int sequence, int position) const {
    const std::int64_t page = tables[sequence * tables_stride + position / kPagePositions];
    char* const scales = static_cast<char*>(data) + page * page_bytes() +
                         std::int64_t{kPagePositions} * position_bytes;
    return reinterpret_cast<float*>(scales) + position % kPagePositions;
  }
};

// Writes rows to the places of their positions; segment s is sequence s of the tables.
struct WritePagesParams {
  Pages pages;
  const void* x;           // [rows, x_stride]: in the type of the pages, or to be made latent_fp8
  Type type;               // of x: f32 or bf16 for latent_fp8, whose rows are 576 wide
  std::int64_t row_bytes;  // from one row of x to the next, a multiple of kPageCopyUnit
  const float* scales;     // [rows] of index_fp8
  const KeySegment* segments;  // [segment_count]
  int segment_count;
  int most_rows;  // of a segment
};

cudaError_t write_pages(const WritePagesParams& params, cudaStream_t stream);

// out[places[r].key_base + i] = the key at position sets[r, i], or i if there are no sets, of
// sequence r, for i < places[r].candidates.
struct GatherPagesParams {
  Pages pages;
  const std::int32_t* sets;  // [rows, sets_stride], or null
  std::int64_t sets_stride;
  const RowPlace* places;  // [rows]
  int rows;
  int most_keys;  // most candidates of any row
  void* out;      // rows without gaps: of the pages' type, or of `type` for latent_fp8
  Type type;      // f32 or bf16
  float* scales;  // of index_fp8
};

cudaError_t gather_pages(const GatherPagesParams& params, cudaStream_t stream);

}  // namespace indexcache::kernels
