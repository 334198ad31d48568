// SPDX-License-Identifier: Apache-2.0
// The same as sparse_attention_sm90.cu for few heads: keys, and then value columns, are the M side
// of the products, heads the N side, so that 20 heads cost 24 and not 64.
//
// A block stays on its multiprocessor and takes one tile after the other: a query and Heads of its
// heads. Two warpgroups take turns at scoring 64 keys, keys x queries^T: issuing products keeps a
// warp busy, so one's softmax runs beside the other's products. The maximum over keys goes across
// warps and from one to the other through shared memory. Two more accumulate 256 value columns
// each, values^T x probabilities^T. The fifth gathers with cp.async (attention_rows.cuh): 64 keys
// take three slots of three units, and a slot is free again as soon as its units are accumulated.
// Probabilities overwrite the last unit, which holds no values.
//
// Bound, per 64 keys and tile of 24 heads: shared memory, 2,070 cycles of 128 bytes (gathering 576,
// scores 36 x 22, values 32 x 22); the products alone take 820.
#include "kernels/architecture.h"
#include "kernels/attention_rows.cuh"
#include "kernels/sparse_attention_few_sm90.cuh"

namespace indexcache::kernels {
namespace {

// Stores two 8 x 8 matrices of 16-bit elements transposed; lanes 0 to 15 have the row addresses.
__device__ void store_matrices_transposed(std::uint32_t to, std::uint32_t a, std::uint32_t b) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(to), "r"(a),
               "r"(b)
               : "memory");
}

// Offset in a line of a thread's j-th head.
__device__ std::uint32_t term_offset(int j) {
  const int quad = static_cast<int>(threadIdx.x) % 4;
  return static_cast<std::uint32_t>((j / 2 * 8 + quad * 2 + j % 2) * 4);
}

// One of the warpgroups that compute scores and probabilities: of the blocks i with
// i % 2 == Group.
template <class S, int Group>
class Scorer {
 public:
  __device__ Scorer(const SparseAttentionParams& p, const Shared<S>& shared)
      : p_(p), shared_(shared) {}

  __device__ void run(const Tiles<S::kHeads>& tiles) {
    int parity = 0;  // of the tile
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles.count();
         tile += static_cast<int>(gridDim.x), parity ^= 1) {
      count_ = tiles.keys(tile);
      const int blocks = key_blocks<S>(count_);
      begin(tiles.at(tile).first_head);
      barrier_wait(shared_.queries_full(), static_cast<unsigned>(parity));
      for (int i = 0; i < blocks; ++i) {
        if (i % kScorers == Group) {
          const bool last = i + kScorers >= blocks;
          float scores[kScores];
          score(scores);
          __syncwarp();
          if (last && lane() == 0) barrier_arrive(shared_.queries_empty());
          weigh(scores, i);
          if (last) store_sums(parity);
          barrier_arrive(shared_.weighed(block_.stage));
        }
        before_ = block_;
        block_.advance(1);
        at_.advance(kParts);
      }
    }
  }

 private:
  static constexpr int kTerms = S::kTerms;
  static constexpr int kScores = S::kHeads / 2;  // of a thread: keys g and g + 8 of its warp's 16

  __device__ static int lane() { return group_thread() % kWarp; }
  __device__ static int warp() { return group_thread() / kWarp; }

  // A tile begins with the sinks of its heads, whose exponentials are in the sums of the first
  // scorer's first lanes.
  __device__ void begin(int first_head) {
#pragma unroll
    for (int j = 0; j < kTerms; ++j) {
      const int head = first_head + static_cast<int>(term_offset(j)) / 4;
      peak_[j] = Group == 0 ? first_exponent(p_, head) : -INFINITY;
      sum_[j] = Group == 0 && group_thread() < 4 ? first_sum(p_, head) : 0.0f;
    }
  }

  // The scores of the next block.
  __device__ void score(float (&scores)[kScores]) {
    at_ = agreed(at_);
    Turn<S::kSlots> from = at_;
    const std::uint64_t queries = swizzled_operand(shared_.queries(0), 16, 1024);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      barrier_wait(shared_.full(from.stage), from.parity);
      fence_shared_for_wgmma();
      const std::uint64_t keys = swizzled_operand(shared_.slot(from.stage), 16, 1024);
      wgmma_begin();
#pragma unroll
      for (int step = 0; step < S::kSlotUnits * 4; ++step) {
        const int unit = step / 4, column = step % 4 * 32;
        wgmma_bf16(scores, moved(keys, unit * S::kUnitBytes + column),
                   moved(queries, (part * S::kSlotUnits + unit) * S::kQueryUnitBytes + column),
                   part + step > 0);
      }
      from.advance(1);
    }
    wgmma_commit();
    wgmma_wait<0>();
    hold(scores);
  }

  // Maximum over the keys of a block for each head of this thread. Ends when all four warps have
  // finished their scores.
  __device__ void find_tops(const float (&scores)[kScores], int turn, float (&top)[kTerms]) {
#pragma unroll
    for (int j = 0; j < kTerms; ++j) {
      const int at = j / 2 * 4 + j % 2;
      top[j] = fmaxf(scores[at], scores[at + 2]);
      for (int offset = 4; offset < kWarp; offset *= 2) {
        top[j] = fmaxf(top[j], __shfl_xor_sync(kAllLanes, top[j], offset));
      }
    }
    if (lane() < 4) {
#pragma unroll
      for (int j = 0; j < kTerms; ++j) {
        store_shared(shared_.tops(Group, turn, warp()) + term_offset(j), top[j]);
      }
    }
    partial_barrier<1 + Group, kGroupThreads>();
#pragma unroll
    for (int j = 0; j < kTerms; ++j) {
#pragma unroll
      for (int w = 0; w < kGroupWarps; ++w) {
        top[j] = fmaxf(top[j], load_shared(shared_.tops(Group, turn, w) + term_offset(j)));
      }
    }
  }

  // Probabilities from the scores of the i-th block of the tile.
  __device__ void weigh(float (&scores)[kScores], int i) {
    const int first_key = warp() * 16 + lane() / 4, valid = count_ - i * kBlockKeys;
    if (valid < kBlockKeys) {
#pragma unroll
      for (int j = 0; j < kScores; ++j) {
        if (first_key + j / 2 % 2 * 8 >= valid) scores[j] = -INFINITY;
      }
    }
    float top[kTerms], before[kTerms];
    find_tops(scores, i / kScorers, top);
    // The block before, maybe of another tile; its scorer has read this one's maxima.
    barrier_wait(shared_.weighed(before_.stage), before_.parity);
    const float factor = p_.scale * kLog2E;
#pragma unroll
    for (int j = 0; j < kTerms; ++j) {
      before[j] = i == 0 ? peak_[j] : load_shared(shared_.peaks(1 - Group) + term_offset(j));
      const float peak = fmaxf(before[j], top[j] * factor);
      sum_[j] *= exponential(peak_[j] - peak);
      peak_[j] = peak;
      const int at = j / 2 * 4 + j % 2;
      scores[at] = exponential(fmaf(scores[at], factor, -peak));
      scores[at + 2] = exponential(fmaf(scores[at + 2], factor, -peak));
      sum_[j] += scores[at] + scores[at + 2];
    }
    store_weights(scores, before);
  }

  // Hands the probabilities, [heads][keys], to the accumulating warpgroups, and by how much their
  // sums shrink.
  __device__ void store_weights(const float (&scores)[kScores], const float (&before)[kTerms]) {
    Turn<S::kSlots> end = at_;
    end.advance(kParts - 1);
    const std::uint32_t to =
        shared_.weights(end.stage) + swizzled_chunk(lane() % 8, warp() * 2 + lane() / 8 % 2);
#pragma unroll
    for (int i = 0; i < S::kHeads / 8; ++i) {
      store_matrices_transposed(to + static_cast<std::uint32_t>(i * 1024),
                                pack(scores[4 * i], scores[4 * i + 1]),
                                pack(scores[4 * i + 2], scores[4 * i + 3]));
    }
    if (group_thread() < 4) {
#pragma unroll
      for (int j = 0; j < kTerms; ++j) {
        store_shared(shared_.shrinks(block_.stage) + term_offset(j),
                     exponential(before[j] - peak_[j]));
        store_shared(shared_.peaks(Group) + term_offset(j), peak_[j]);
      }
    }
    fence_shared_for_wgmma();
  }

  __device__ void store_sums(int parity) const {
#pragma unroll
    for (int j = 0; j < kTerms; ++j) {
      float x = sum_[j];
      for (int offset = 4; offset < kWarp; offset *= 2) {
        x += __shfl_xor_sync(kAllLanes, x, offset);
      }
      if (lane() >= 4) continue;
      store_shared(shared_.sums(parity, Group, warp()) + term_offset(j), x);
      if (warp() == 0) store_shared(shared_.last_peaks(parity, Group) + term_offset(j), peak_[j]);
    }
  }

  const SparseAttentionParams& p_;
  const Shared<S>& shared_;
  Turn<S::kSlots> at_;   // first slot of the next block
  Turn<kBlocks> block_;  // the next block, and the one before
  Turn<kBlocks> before_{kBlocks - 1, 1};
  int count_ = 0;
  float peak_[kTerms], sum_[kTerms];  // running maximum, times the factor, and sum of the heads
};

// One of the warpgroups that accumulate 256 value columns.
template <class S>
class Accumulator {
 public:
  __device__ Accumulator(const SparseAttentionParams& p, const Shared<S>& shared)
      : p_(p), shared_(shared) {}

  __device__ void run(const Tiles<S::kHeads>& tiles) {
    int parity = 0;
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles.count();
         tile += static_cast<int>(gridDim.x), parity ^= 1) {
      const int blocks = key_blocks<S>(tiles.keys(tile));
      float out[kTileUnits][kSums], factor[S::kTerms];
#pragma unroll
      for (int i = 0; i < kTileUnits * kSums; ++i) out[i / kSums][i % kSums] = 0;
      for (int i = 0; i + 1 < blocks; ++i) {
        add_block(out);
        release();
      }
      add_block(out);
      find_factors(factor, parity);
      release();
      store_tile(tiles.at(tile), out, factor);
    }
  }

 private:
  static constexpr int kTileUnits = kValueWidth / 64 / kValueGroups;
  static constexpr int kSums = S::kHeads / 2;  // of a unit and thread

  __device__ static int lane() {
    return group_thread() % kWarp;
  }

  // This thread does not need the next slot any more.
  __device__ void release() {
    barrier_arrive(shared_.empty(at_.stage));
    at_.advance(1);
  }

  // Adds the values of a block; releases its slots but the last one.
  __device__ void add_block(float (&out)[kTileUnits][kSums]) {
    int slots[kParts];
    at_ = agreed(at_);
    Turn<S::kSlots> slot = at_;
#pragma unroll
    for (int part = 0; part < kParts; ++part, slot.advance(1)) slots[part] = slot.stage;
    barrier_wait(shared_.weighed(block_.stage), block_.parity);
    fence_shared_for_wgmma();
    shrink_sums(out, block_.stage);
    block_.advance(1);
    const std::uint64_t weights = swizzled_operand(shared_.weights(slots[kParts - 1]), 16, 1024);
    wgmma_begin();
#pragma unroll
    for (int i = 0; i < kTileUnits; ++i) {
      const int unit = group_ * kTileUnits + i, part = unit / S::kSlotUnits;
      const std::uint64_t values =
          swizzled_operand(shared_.slot(part == 0   ? slots[0]
                                        : part == 1 ? slots[1]
                                                    : slots[2]) +
                               static_cast<std::uint32_t>(unit % S::kSlotUnits * S::kUnitBytes),
                           16, 1024);
#pragma unroll
      for (int step = 0; step < kBlockKeys / 16; ++step) {
        wgmma_bf16_flipped(out[i], moved(values, step * 16 * 128), moved(weights, step * 32));
      }
      wgmma_commit();
    }
    // Three of the four units: 0 to 2, all of a slot, or 4 to 6, all that this warpgroup needs of
    // two slots.
    wgmma_wait<1>();
    release();
    if (group_ == 1) release();
    wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < kTileUnits; ++i) hold(out[i]);
    if (group_ == 0) release();
  }

  __device__ void shrink_sums(float (&out)[kTileUnits][kSums], int block) const {
    float shrink[S::kTerms];
    bool some = false;
#pragma unroll
    for (int j = 0; j < S::kTerms; ++j) {
      shrink[j] = load_shared(shared_.shrinks(block) + term_offset(j));
      some |= shrink[j] != 1.0f;
    }
    if (__any_sync(kAllLanes, some)) {
#pragma unroll
      for (int i = 0; i < kTileUnits; ++i) {
#pragma unroll
        for (int j = 0; j < kSums; ++j) out[i][j] *= shrink[j / 4 * 2 + j % 2];
      }
    }
#pragma unroll
    for (int i = 0; i < kTileUnits; ++i) hold(out[i]);
  }

  __device__ void find_factors(float (&factor)[S::kTerms], int parity) const {
#pragma unroll
    for (int j = 0; j < S::kTerms; ++j) {
      const std::uint32_t at = term_offset(j);
      const float peaks[kScorers] = {load_shared(shared_.last_peaks(parity, 0) + at),
                                     load_shared(shared_.last_peaks(parity, 1) + at)};
      float sum = 0;
      for (int scorer = 0; scorer < kScorers; ++scorer) {
        float x = 0;
        for (int warp = 0; warp < kGroupWarps; ++warp) {
          x += load_shared(shared_.sums(parity, scorer, warp) + at);
        }
        sum += x * exponential(peaks[scorer] - fmaxf(peaks[0], peaks[1]));
      }
      factor[j] = 1.0f / sum;
    }
  }

  // Sums stand as [column][head]; a lane gets eight columns of a head.
  __device__ void store_tile(const Tile& tile, const float (&out)[kTileUnits][kSums],
                             const float (&factor)[S::kTerms]) const {
    bf16* to = static_cast<bf16*>(p_.out) + tile.row * p_.out_stride;
    const int quad = lane() % 4;
    const int column =
        (group_ * kTileUnits + quad / 2) * 64 + group_thread() / kWarp * 16 + quad % 2 * 8;
#pragma unroll
    for (int i = 0; i < S::kHeads / 8; ++i) {
      const int head = tile.first_head + i * 8 + lane() / 4;
#pragma unroll
      for (int unit = 0; unit < kTileUnits; unit += 2) {
        std::uint32_t w[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float* x = &out[unit + j / 2][4 * i + j % 2 * 2];
          w[j] = transpose_matrix(pack(x[0] * factor[2 * i], x[1] * factor[2 * i + 1]));
        }
        transpose_quad(w);
        if (head < p_.heads) {
          __stcs(reinterpret_cast<uint4*>(to + head * p_.out_head_stride + column + unit * 64),
                 make_uint4(w[0], w[1], w[2], w[3]));
        }
      }
    }
  }

  const SparseAttentionParams& p_;
  const Shared<S>& shared_;
  const int group_ = agreed(static_cast<int>(threadIdx.x) / kGroupThreads) - kScorers;
  Turn<S::kSlots> at_;
  Turn<kBlocks> block_;
};

// The warpgroup that copies queries and gathers keys.
template <class S>
__device__ void gather(const SparseAttentionParams& p, const Tiles<S::kHeads>& tiles,
                       const Shared<S>& shared) {
  RowsAhead<S, Tiles<S::kHeads>> rows(p, tiles);
  Turn<S::kSlots> at;
  unsigned query_parity = 0;
  rows.for_blocks([&](int tile, int block, const auto& row_in) {
#pragma unroll 1
    for (int part = 0; part < kParts; ++part) {
      barrier_wait(shared.empty(at.stage), at.parity ^ 1);
#pragma unroll
      for (int pass = 0; pass < kCopyPasses<S>; ++pass) {
        bool present;
        const bf16* row = row_in(pass, present);
        copy_row<S::kSlotUnits, S::kUnitBytes>(shared.slot(at.stage), copied_row<S>(pass),
                                               row + part * S::kSlotUnits * 64, present);
      }
      barrier_arrive_after_copies(shared.full(at.stage));
      at.advance(1);
    }
    if (block == 0) {
      barrier_wait(shared.queries_empty(), query_parity ^ 1);
      copy_queries<S, kUnits, S::kQueryUnitBytes>(p, tiles, tile, shared.queries(0));
      barrier_arrive_after_copies(shared.queries_full());
      query_parity ^= 1;
    }
  });
  copy_async_commit();
  copy_async_wait<0>();
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, 1)
    attention_few_sm90_kernel(SparseAttentionParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) char memory[];
  const Shared<S> shared{shared_address(memory)};
  const Tiles<S::kHeads> tiles(p);
  shared.init();
  if (threadIdx.x >= S::kFirstCopier) {
    leave_registers<kCopyRegisters>();
    gather(p, tiles, shared);
  } else if (threadIdx.x < kGroupThreads) {
    Scorer<S, 0>(p, shared).run(tiles);
  } else if (threadIdx.x < kScorers * kGroupThreads) {
    Scorer<S, 1>(p, shared).run(tiles);
  } else {
    take_registers<kValueRegisters>();
    Accumulator<S>(p, shared).run(tiles);
  }
#endif
}

template <int Heads>
cudaError_t launch(const SparseAttentionParams& p, cudaStream_t stream) {
  using S = Shape<Heads>;
  const auto kernel = attention_few_sm90_kernel<S>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kBytes);
  if (status != cudaSuccess) return status;
  const std::int64_t tiles = p.rows * ceil_div(p.heads, Heads);
  const int blocks = static_cast<int>(tiles < multiprocessors() ? tiles : multiprocessors());
  kernel<<<blocks, S::kThreads, S::kBytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

bool sparse_attention_few_sm90_applies(const SparseAttentionParams& p) {
  return p.heads <= kFewHeads && p.key_width == kKeyWidth && sparse_attention_sm90_applies(p);
}

cudaError_t sparse_attention_few_sm90(const SparseAttentionParams& params, cudaStream_t stream) {
  if (!sparse_attention_few_sm90_applies(params)) return cudaErrorInvalidValue;
  return params.heads <= 24 ? launch<24>(params, stream) : launch<32>(params, stream);
}

}  // namespace indexcache::kernels
