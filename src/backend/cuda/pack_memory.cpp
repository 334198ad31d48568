// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/pack_memory.h"

#include "backend/cuda/cuda_backend.h"
#include "backend/row_chunks.h"
#include "kernels/sparse_attention.h"

namespace indexcache {
namespace cuda {
namespace {

static_assert(kChunkGrain % kernels::kPackGrain == 0);  // chunks of rows begin where packs do

constexpr std::int64_t kWord = 4;
constexpr std::int64_t kPackWords = sizeof(kernels::Pack) / kWord;
constexpr std::int64_t kCountWords = sizeof(kernels::PackCounts) / kWord;

// The keys of a pack are rounded up to a multiple of four.
std::int64_t keys_per_row(const kernels::PackedSets& packing) {
  return packing.keys_per_query + 3;
}

}  // namespace

PackMemory::PackMemory(Device& device, const kernels::PackedSets& packing, std::int64_t rows)
    : packing_(packing) {
  if (packing.queries == 0) return;
  const auto words = [&](std::int64_t count) { return device.allocate(1, count, DType::i32); };
  keys_ = words(rows * keys_per_row(packing));
  members_ = words((rows * keys_per_row(packing) + kWord - 1) / kWord);
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

std::int64_t PackMemory::bytes_per_row(const kernels::PackedSets& packing) {
  if (packing.queries == 0) return 0;
  return keys_per_row(packing) * (kWord + 1) + kWord * (kPackWords + 1);
}

}  // namespace cuda

// The shape as sparse_attention() has it.
std::int64_t CudaBackend::attention_row_bytes(const ModelShape& shape) const {
  if (activation() != DType::bf16 || shape.window > 0 || shape.dense) return 0;
  kernels::SparseAttentionParams p{};
  p.type = kernels::Type::bf16;
  p.heads = static_cast<int>(shape.heads);
  p.key_width = static_cast<int>(shape.latent_width);
  p.value_width = static_cast<int>(shape.kv_lora_rank);
  p.query_head_stride = shape.latent_width;
  p.query_stride = shape.heads * shape.latent_width;
  p.out_head_stride = shape.kv_lora_rank;
  p.out_stride = shape.heads * shape.kv_lora_rank;
  p.k = static_cast<int>(shape.index_topk);
  p.scale = 1;
  return cuda::PackMemory::bytes_per_row(kernels::packing_of(p));
}

}  // namespace indexcache
