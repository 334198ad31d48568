// SPDX-License-Identifier: Apache-2.0
// Keys of sequences that are being decoded, in pages, laid out as serving engines lay them out.
//
// A page holds the keys of 64 consecutive positions of one sequence: the page size that vLLM and
// SGLang use for DSA models, because DeepGEMM's paged MQA logits and FlashMLA take it. Pages of a
// sequence may be anywhere; its row of a table, i32 [sequences, pages per sequence], names them in
// the order of positions, as PagedAttention's block tables do.
#pragma once

#include "backend/tensor.h"

#include <cstdint>

namespace indexcache {

class Device;

inline constexpr std::int64_t kPagePositions = 64;

enum class PageLayout {
  // 64 rows of `width` numbers of one type.
  plain,
  // The indexer's keys in FP8 (DeepGEMM, fp8_paged_mqa_logits): 64 rows of `width` e4m3 numbers,
  // then their 64 f32 scales. Scales are powers of two and keys are rotated by the Hadamard
  // transform (docs/numerics.md, Precision of the indexer).
  index_fp8,
  // Latents in FP8 (FlashMLA's sparse kernels, vLLM's fp8_ds_mla), 656 bytes per position: 512 e4m3
  // numbers, the 4 f32 scales of 128 of them each, and 64 bf16 numbers, the rotated part. A scale
  // is max(max |x|, 1e-10) / 448.
  latent_fp8,
};

// Of latent_fp8, the only widths that the layout is defined for.
inline constexpr std::int64_t kLatentFp8Rank = 512;
inline constexpr std::int64_t kLatentFp8Rope = 64;
inline constexpr std::int64_t kLatentFp8Group = 128;  // numbers that share a scale

struct PageFormat {
  PageLayout layout;
  DType type;          // of `plain`: f32 or bf16
  std::int64_t width;  // numbers of a position

  // Of one position, scales included.
  std::int64_t position_bytes() const;
  std::int64_t page_bytes() const { return kPagePositions * position_bytes(); }
};

struct PagedCache {
  PageFormat format;
  Tensor pages;  // u8 [pages, format.page_bytes()], aligned to 16 bytes

  bool empty() const { return pages.empty(); }
};

// Pages of a device, not written. Throws InternalError if the layout has another width.
PagedCache allocate_pages(Device& device, const PageFormat& format, std::int64_t pages);

// Pages that hold `positions`.
constexpr std::int64_t pages_of(std::int64_t positions) {
  return (positions + kPagePositions - 1) / kPagePositions;
}

}  // namespace indexcache
