// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/pack_memory.h"

#include "backend/gpu_scratch.h"
#include "backend/row_chunks.h"
#include "kernels/sparse_attention.h"

namespace indexcache::cuda {
namespace {

static_assert(kChunkGrain % kernels::kPackGrain == 0);  // chunks of rows begin where packs do

// What a plan counts on.
static_assert(kMostPackQueries == kernels::kMostPackQueries);
static_assert(kFewHeads == kernels::kFewHeads);
static_assert(kSm90TileHeads == kernels::kSm90TileHeads);
static_assert(kMmaTileRows == kernels::kMmaTileRows);
static_assert(kMostAttentionKeyWidth == kernels::kMostAttentionKeyWidth);
static_assert(kMostAttentionValueWidth == kernels::kMostAttentionValueWidth);
static_assert(kPackBytes == sizeof(kernels::Pack));

constexpr std::int64_t kWord = 4;
constexpr std::int64_t kPackWords = kPackBytes / kWord;
constexpr std::int64_t kCountWords = sizeof(kernels::PackCounts) / kWord;

}  // namespace

PackMemory::PackMemory(Device& device, const kernels::PackedSets& packing, std::int64_t rows)
    : packing_(packing) {
  if (packing.queries == 0) return;
  const auto words = [&](std::int64_t count) { return device.allocate(1, count, DType::i32); };
  const std::int64_t keys = rows * packed_row_keys(packing.keys_per_query);
  keys_ = words(keys);
  members_ = words((keys + kWord - 1) / kWord);
  packs_ = words(rows * kPackWords);
  rest_ = words(rows);
  counts_ = words(kCountWords);
}

kernels::PackedSets PackMemory::sets() const {
  if (packing_.queries == 0) return {};
  kernels::PackedSets sets = packing_;
  sets.keys = keys_.data<std::int32_t>();
  sets.members = members_.data<std::uint8_t>();
  sets.packs = packs_.data<kernels::Pack>();
  sets.rest = rest_.data<std::int32_t>();
  sets.counts = counts_.data<kernels::PackCounts>();
  return sets;
}

}  // namespace indexcache::cuda
