// SPDX-License-Identifier: Apache-2.0
#include "backend/gpu_scratch.h"

#include "backend/row_chunks.h"
#include "backend/scale_blocks.h"

#include <algorithm>

namespace indexcache {

SetPacking set_packing(const ModelShape& shape, DType activation, bool has_warpgroups) {
  const std::int64_t heads = shape.heads, keys = shape.latent_width, values = shape.kv_lora_rank;
  if (activation != DType::bf16 || shape.window > 0 || shape.dense || heads == 0) return {};
  const auto queries = [&](std::int64_t tile_rows) {
    return std::min(tile_rows / heads, kMostPackQueries);
  };
  if (has_warpgroups && heads <= kFewHeads && keys == kMostAttentionKeyWidth &&
      values == kMostAttentionValueWidth) {
    return {queries(kSm90TileHeads), 2 * shape.index_topk / 3};
  }
  if (heads <= kMmaTileRows / 2 && keys % 16 == 0 && values % 16 == 0 &&
      keys <= kMostAttentionKeyWidth && values <= kMostAttentionValueWidth) {
    return {queries(kMmaTileRows), shape.index_topk};
  }
  return {};
}

// The keys of a pack are rounded up to a multiple of four.
std::int64_t packed_row_keys(std::int64_t keys_per_query) {
  return keys_per_query + 3;
}

// The row in FP8 and its scales.
std::int64_t gpu_linear_row_bytes(const Device& gpu, std::int64_t width) {
  return gpu.keeps_fp8() ? width + 4 * scale_blocks(width) : 0;
}

// Its input and the product of gate and up are not quantized at the same time.
std::int64_t gpu_mlp_row_bytes(const Device& gpu, std::int64_t hidden, std::int64_t middle) {
  return gpu.Device::mlp_row_bytes(hidden, middle) +
         std::max(gpu_linear_row_bytes(gpu, hidden), gpu_linear_row_bytes(gpu, middle));
}

// Keys with the queries that have them, packs, and rows in none (backend/cuda/pack_memory.h).
std::int64_t gpu_attention_row_bytes(const Device& gpu, const ModelShape& shape,
                                     bool has_warpgroups) {
  constexpr std::int64_t kRow = 4, kKey = 4 + 1;
  const SetPacking packing = set_packing(shape, gpu.activation(), has_warpgroups);
  if (packing.queries == 0) return 0;
  return packed_row_keys(packing.keys_per_query) * kKey + kPackBytes + kRow;
}

std::int64_t gpu_logits_chunk(std::int64_t memory_bytes) {
  return std::clamp(memory_bytes / 16, std::int64_t{1} << 20, std::int64_t{1} << 30);
}

std::int64_t uploader_slot_bytes(std::int64_t memory_limit) {
  constexpr std::int64_t kLeast = 1 << 20;
  return std::clamp(memory_limit / (16 * kUploaderSlots), kLeast, kUploaderSlotBytes);
}

// A comparison holds the reference's logits next to those that it compares.
std::int64_t gpu_logits_bytes(const ModelShape& shape, std::int64_t rows, std::int64_t longest,
                              std::int64_t chunk) {
  const auto logits = [&](std::int64_t width, std::int64_t fewest_rows) {
    return 4 * width * std::min(std::max(chunk / (4 * width), fewest_rows), rows);
  };
  return std::max(
      {logits(longest, kChunkGrain), logits(shape.vocabulary, 1), logits(2 * shape.vocabulary, 1)});
}

}  // namespace indexcache
