// SPDX-License-Identifier: Apache-2.0
// Top-k that reads a row once (top_k_stream.cuh) and keeps most of what is chosen out of the list:
// elements above a second guess, which fewer than k are, only set their bit. The list takes what
// is between the guesses. Where both guesses are one value, as in a row of mostly zeros, nothing
// goes to the list: elements of that value have a bit of their own, and the lowest are taken.
// Counts show whether a guess was wrong; then the row is read again without marks.
#pragma once

#include "kernels/top_k_stream.cuh"

namespace indexcache::kernels {

// Bits of positions [32 w, 32 w + 32): four of each of eight lanes.
__device__ inline std::uint32_t word_of(const void* marks, int w) {
  constexpr int kOfBatch = kBatch / 32;
  const int vector = w % kOfBatch / 4, lanes = w % 4;
  const uint4 eight = static_cast<const uint4*>(marks)[w / kOfBatch * (kWarp / 8) + lanes];
  const std::uint32_t pairs[4] = {eight.x, eight.y, eight.z, eight.w};
  std::uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t two = pairs[i] >> (4 * vector) & 0x000f000fu;
    word |= ((two | two >> 12) & 0xffu) << (8 * i);
  }
  return word;
}

__device__ inline void mark(std::uint32_t* words, int position) {
  const int in_batch = position % kBatch;
  const int lane = in_batch % (4 * kWarp) / 4, bit = in_batch / (4 * kWarp) * 4 + in_batch % 4;
  const int slot = position / kBatch * kWarp + lane;
  atomicOr(&words[slot / 2], 1u << (slot % 2 * 16 + bit));
}

// Writes the k best of a row, or returns false if a guess was wrong.
template <typename Shared>
__device__ bool select_marked(Shared& shared, const Row& row, int k, Gate gate, std::int32_t* out) {
  empty(shared);
  if (!take_all(
          shared, warp_of(), Shared::kWarps, static_cast<int>(ceil_div(row.candidates, kBatch)), k,
          gate,
          [&](int batch, const Gate& g) { return take_batch<true>(shared, row, batch, g); })) {
    return false;
  }
  const int wanted = k - static_cast<int>(shared.marked);
  const auto held = static_cast<int>(shared.filled);
  if (wanted < 0 || held < wanted) return false;
  const ListEntries<Shared::kThreads> entries{shared.list, held};
  if (wanted > 0) {
    const auto rank = static_cast<unsigned>(wanted);
    const Threshold threshold =
        choose(shared.chooser, entries, Search{sortable(gate.at), sortable(gate.sure), rank, rank});
    entries.each([&](bool present, std::uint32_t key, int position) {
      if (present && threshold.takes(key, position)) mark(shared.words, position);
    });
  }
  __syncthreads();
  write_bits(
      shared.chooser, static_cast<int>(ceil_div(row.candidates, 32)),
      [&](int w) { return word_of(shared.words, w); }, 0, out);
  return true;
}

// Marks what is above `value`, and what equals it in `equals`; counts both.
template <typename Shared>
__device__ void mark_plateau(Shared& shared, const Row& row, float value, std::uint16_t* equals) {
  const int batches = static_cast<int>(ceil_div(row.candidates, kBatch));
  unsigned above_all = 0, equal_all = 0;
  for (int batch = warp_of(); batch < batches; batch += Shared::kWarps) {
    float scores[4 * kVectors];
    load_batch(scores, row, batch * kBatch, batch * kBatch + 4 * lane_of());
    unsigned above = 0, equal = 0;
#pragma unroll
    for (int j = 0; j < 4 * kVectors; ++j) {
      if (scores[j] > value) above |= 1u << j;
      if (scores[j] == value) equal |= 1u << j;
    }
    marks_of(shared.words)[batch * kWarp + lane_of()] = static_cast<std::uint16_t>(above);
    equals[batch * kWarp + lane_of()] = static_cast<std::uint16_t>(equal);
    above_all += static_cast<unsigned>(__popc(above));
    equal_all += static_cast<unsigned>(__popc(equal));
  }
  above_all = __reduce_add_sync(kAllLanes, above_all);
  equal_all = __reduce_add_sync(kAllLanes, equal_all);
  if (lane_of() == 0) {
    atomicAdd(&shared.marked, above_all);
    atomicAdd(&shared.filled, equal_all);
  }
  __syncthreads();
}

// The same as select_marked() for a row whose k-th score should be `value`. The bits of elements
// that equal it are where the list would be.
template <typename Shared>
__device__ bool select_plateau(Shared& shared, const Row& row, int k, float value,
                               std::int32_t* out) {
  empty(shared);
  mark_plateau(shared, row, value, marks_of(shared.list));
  const int wanted = k - static_cast<int>(shared.marked);
  if (wanted < 0 || static_cast<int>(shared.filled) < wanted) return false;
  const auto words = static_cast<int>(ceil_div(row.candidates, 32));
  const auto equals = [&](int w) { return word_of(shared.list, w); };
  if (threadIdx.x == 0) shared.chooser.tie = -1;
  __syncthreads();
  each_word(shared.chooser, words, equals, [&](int w, std::uint32_t bits, unsigned before) {
    int lower = wanted - 1 - static_cast<int>(before);
    if (lower < 0 || lower >= __popc(bits)) return;
    for (; lower > 0; --lower) bits &= bits - 1;
    shared.chooser.tie = w * 32 + __ffs(static_cast<int>(bits)) - 1;
  });
  __syncthreads();
  const int last = shared.chooser.tie;
  write_bits(
      shared.chooser, words,
      [&](int w) {
        const int up_to = last - w * 32;
        const std::uint32_t taken = up_to < 0 ? 0 : up_to >= 31 ? ~0u : (2u << up_to) - 1;
        return word_of(shared.words, w) | (equals(w) & taken);
      },
      0, out);
  return true;
}

// Writes the k best of a row by one block.
template <typename Shared>
__device__ void select_row(Shared& shared, const Row& row, int k, std::int32_t* out) {
  Gate gate = open_gate();
  if (row.candidates > Shared::kCapacity) {
    const Guess guessed = guess(shared.chooser, row, k);
    if (row.candidates > Shared::kMarked) {
      gate = guessed.gate;
    } else if (guessed.plateau) {
      if (select_plateau(shared, row, k, guessed.gate.sure, out)) return;
    } else if (select_marked(shared, row, k, guessed.gate, out)) {
      return;
    }
  }
  select_listed(shared, row, k, SingleBlock{}, gate, out);
}

}  // namespace indexcache::kernels
