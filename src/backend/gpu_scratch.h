// SPDX-License-Identifier: Apache-2.0
// What operations of a GPU take; experts have a file of their own (expert_products.h). The GPU
// backend and plans for GPUs that are not here ask the same functions.
#pragma once

#include "backend/device.h"

#include <cstdint>

namespace indexcache {

// How neighboring queries share tiles of sparse attention (kernels/packed_sets.h).
struct SetPacking {
  std::int64_t queries = 0;         // of a pack, at most; 0: nothing is packed
  std::int64_t keys_per_query = 0;  // of the union of a pack's sets, at most

  bool operator==(const SetPacking&) const = default;
};

// Sizes of the kernels of sparse attention (kernels/sparse_attention.h).
inline constexpr std::int64_t kMostPackQueries = 8;
inline constexpr std::int64_t kFewHeads = 32;
inline constexpr std::int64_t kSm90TileHeads = 64;
inline constexpr std::int64_t kMmaTileRows = 16;
inline constexpr std::int64_t kMostAttentionKeyWidth = 576;
inline constexpr std::int64_t kMostAttentionValueWidth = 512;
// What describes a pack (kernels::Pack).
inline constexpr std::int64_t kPackBytes = 24;

// How sparse_attention() packs; kernels::packing_of() decides the same for tensors.
// `has_warpgroups`: of a Hopper GPU and a build for it.
SetPacking set_packing(const ModelShape& shape, DType activation, bool has_warpgroups);

// Keys that packs hold per row, at most.
std::int64_t packed_row_keys(std::int64_t keys_per_query);

// Device::linear_row_bytes(), mlp_row_bytes() and attention_row_bytes() of a GPU.
std::int64_t gpu_linear_row_bytes(const Device& gpu, std::int64_t width);
std::int64_t gpu_mlp_row_bytes(const Device& gpu, std::int64_t hidden, std::int64_t middle);
std::int64_t gpu_attention_row_bytes(const Device& gpu, const ModelShape& shape,
                                     bool has_warpgroups);

// Logits of indexers and of tokens are computed in chunks of about so many bytes: of a GiB, or of
// less on small GPUs.
std::int64_t gpu_logits_chunk(std::int64_t memory_bytes);

// Device::logits_bytes() of a GPU: about `chunk` bytes, but at least kChunkGrain rows of an indexer
// and one row of tokens.
std::int64_t gpu_logits_bytes(const ModelShape& shape, std::int64_t rows, std::int64_t longest,
                              std::int64_t chunk);

// Slots of a WeightUploader, and the bytes of each; under a memory limit, all of them take a
// sixteenth of it at most, unless that is less than 1 MiB for each.
inline constexpr int kUploaderSlots = 3;
inline constexpr std::int64_t kUploaderSlotBytes = std::int64_t{64} << 20;
std::int64_t uploader_slot_bytes(std::int64_t memory_limit);

// Workspaces of products, which side streams multiply at the same time.
inline constexpr int kProductStreams = 4;
inline constexpr std::int64_t kProductWorkspaceBytes = std::int64_t{32} << 20;  // of each

}  // namespace indexcache
