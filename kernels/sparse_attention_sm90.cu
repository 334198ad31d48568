// SPDX-License-Identifier: Apache-2.0
// Attention over gathered rows with the warpgroup tensor cores of Hopper, for the shapes of
// released models, bf16: absorbed MLA, with keys of 512 + 64 columns whose first 512 are the
// values; and keys of a window and entries, which are values of 512 columns.
//
// A block stays on its multiprocessor and takes one tile after the other: a query and 64 of its
// heads (the M side; missing heads are zero rows). Two warpgroups multiply. Each scores every other
// block of 48 keys and accumulates its half of the value columns for all of them, so that one's
// softmax runs beside the other's products. They exchange the running maximum and the
// probabilities; the latter overwrite the last 64 columns of a block of keys, which are no values.
// Keys without other columns have the place all the same. Probabilities of its own a warpgroup
// multiplies from registers. A third warpgroup copies: it
// gathers keys into three slots as far ahead as parts of them are free. The queries are in shared
// memory, except for the last 64 columns, in registers: so three slots fit.
//
// A pack of queries (packed_sets.h) is a tile like a query with the heads of all of them: its keys
// bring a byte each that says which queries have them in their sets, and scores of the others
// become minus infinity.
//
// A slot has three parts: the values of one warpgroup, those of the other, and the rest. Values are
// free for the next rows as soon as their warpgroup has multiplied them, the rest when the
// warpgroup that did not score the block has: it is the one that reads the probabilities there.
//
// Bounds, per 48 keys and tile: products 1,632 cycles, shared memory 1,860 (gathering 432, scores
// 950, values 480), and 54 KiB from the L2, 1,390 cycles at the 9.2 TB/s that gathers reach.
#include "kernels/architecture.h"
#include "kernels/attention_rows.cuh"
#include "kernels/row_softmax.cuh"
#include "kernels/sparse_attention_sm90.cuh"

namespace indexcache::kernels {
namespace {

// Stores four 8 x 8 matrices of 16-bit elements, one row address per lane.
__device__ void store_matrices(std::uint32_t to, const std::uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

__device__ __forceinline__ void store_heads(const SparseAttentionParams& p, const Tile& tile,
                                            const float (&out)[128], const float (&sum)[2]) {
  const int lane = group_thread() % kWarp, warp = group_thread() / kWarp;
  const int first_column = static_cast<int>(threadIdx.x) / kGroupThreads * 256 + lane % 4 * 8;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float factor = 1.0f / sum[r];
    const int head = tile.first_head + warp * 16 + lane / 4 + 8 * r;
    bf16* to = static_cast<bf16*>(p.out) + tile.row * p.out_stride + head * p.out_head_stride;
#pragma unroll
    for (int i = 0; i < 32; i += 4) {
      std::uint32_t w[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        w[j] = pack(out[4 * (i + j) + 2 * r] * factor, out[4 * (i + j) + 2 * r + 1] * factor);
      }
      transpose_quad(w);
      if (head < tile.heads) {
        __stcs(reinterpret_cast<uint4*>(to + first_column + 8 * i),
               make_uint4(w[0], w[1], w[2], w[3]));
      }
    }
  }
}

// One of the warpgroups that multiply: scores of the blocks with i % 2 == Group, half of the
// values.
template <int Group, KeysOf keys_of>
class Multiplier {
 public:
  __device__ Multiplier(const SparseAttentionParams& p, const Tiles<kTileHeads, keys_of>& tiles,
                        const Shared& shared)
      : p_(p), tiles_(tiles), shared_(shared) {}

  __device__ void run() {
    unsigned parity = 0;
    for (int number = static_cast<int>(blockIdx.x); number < tiles_.count();
         number += static_cast<int>(gridDim.x), parity ^= 1) {
      const Tile tile = tiles_.at(number);
      count_ = tiles_.keys(number);
      blocks_ = key_blocks<S>(count_);
      begin_softmax(tile);
      float out[128], scores[kScores];
#pragma unroll
      for (float& x : out) x = 0;
      hold(out);
      score_at_ = at_;
      if constexpr (kHeldSteps > 0) hold_queries(tile);
      barrier_wait(shared_.queries_full(), parity);
      multiply(out, scores);
      float sum[2];
      exchange_sums(sum);
      store_heads(p_, tile, out, sum);
    }
  }

 private:
  static constexpr int kScores = S::kKeys / 2;  // of a thread
  static constexpr int kSteps = S::kKeys / 16;  // of a product with values
  static constexpr int kHeldSteps = Keys<keys_of>::kHeldSteps;
  static constexpr bool kPacks = keys_of == KeysOf::pack;

  // The blocks of a tile.
  __device__ __forceinline__ void multiply(float (&out)[128], float (&scores)[kScores]) {
    if constexpr (Group == 1) {
      score_at_.advance(1);
      start_scores(scores);
      other_step<true>(out);
      own_step<1>(out, scores, 1);
    } else {
      start_scores(scores);
      own_step<0>(out, scores, 0);
    }
    int i = Group;
    for (; i + 2 < blocks_; i += 2) {
      finish_values<true>(out);
      start_scores(scores);
      other_step<false>(out);
      own_step<1>(out, scores, i + 2);
    }
    finish_values<true>(out);
    if (i + 1 < blocks_) {
      other_step<false>(out);
      finish_values<false>(out);
    }
  }

  __device__ static int lane() {
    return group_thread() % kWarp;
  }
  __device__ static int first_row() {
    return group_thread() / kWarp * 16;
  }
  __device__ static std::uint32_t line(int r) {
    return static_cast<std::uint32_t>((first_row() + lane() / 4 + 8 * r) * 4);
  }

  // Rows of a pack are the heads of one query after the other.
  __device__ void begin_softmax(const Tile& tile) {
    int heads[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      heads[r] = tile.first_head + first_row() + lane() / 4 + 8 * r;
      if (!kPacks) continue;
      member_[r] = 1u << heads[r] / p_.heads;
      heads[r] %= p_.heads;
    }
    softmax_.begin(p_, heads, Group == 0 && lane() % 4 == 0);
  }

  // Keys that are not in the set of a row's query count for nothing.
  __device__ __forceinline__ void leave_out(float (&scores)[kScores]) const {
    const std::uint32_t from =
        shared_.members(at_.stage) + static_cast<std::uint32_t>(2 * (lane() % 4));
#pragma unroll
    for (int i = 0; i < kScores; i += 4) {
      const unsigned two = load_shared_short(from + static_cast<std::uint32_t>(2 * i));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if ((two >> 8 * (j % 2) & member_[j / 2]) == 0) scores[i + j] = -INFINITY;
      }
    }
  }

  // Waits for the values under way and lets the gathering warpgroup have what nobody needs now.
  template <bool Own>
  __device__ __forceinline__ void finish_values(float (&out)[128]) {
    wgmma_wait<0>();
    hold(out);
    __syncwarp();
    if (lane() == 0) barrier_arrive(shared_.empty(before_, Group));
    if (!Own) barrier_arrive(shared_.empty(before_, kRest));
  }

  // A block that this warpgroup scores; `Before` batches of values are under way after its scores.
  template <int Before>
  __device__ __forceinline__ void own_step(float (&out)[128], float (&scores)[kScores], int i) {
    wgmma_wait<Before>();
    hold(scores);
    if (i + kGroups >= blocks_) {  // the last ones
      __syncwarp();
      if (lane() == 0) barrier_arrive(shared_.queries_empty());
    }
    float shrink[2];
    if (kPacks) leave_out(scores);
    softmax_.update(scores, count_ - i * S::kKeys, p_.scale * kLog2E, shrink);
    std::uint32_t weights[kSteps][4];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        weights[step][j] = pack(scores[8 * step + 2 * j], scores[8 * step + 2 * j + 1]);
      }
    }
    store_weights(weights);
    softmax_.add(scores);
    if constexpr (Before > 0) finish_values<false>(out);
    shrink_sums<Before == 0>(out, shrink);
    start_values(out, [&](int step, std::uint64_t values) {
      wgmma_bf16_transposed(out, weights[step], values);
    });
  }

  // A block that the other one scores.
  template <bool First>
  __device__ __forceinline__ void other_step(float (&out)[128]) {
    barrier_wait(shared_.weighed(at_.stage), at_.parity);
    const float top[2] = {load_shared(shared_.peaks(1 - Group) + line(0)),
                          load_shared(shared_.peaks(1 - Group) + line(1))};
    float shrink[2];
    softmax_.raise(top, shrink);
    shrink_sums<First>(out, shrink);
    fence_shared_for_wgmma();
    const std::uint64_t weights = narrow_operand(shared_.weights(at_.stage));
    start_values(out, [&](int step, std::uint64_t values) {
      wgmma_bf16_transposed(out, moved(weights, step * kWeightsBytes), values);
    });
  }

  // The columns of the queries that are not in shared memory.
  __device__ void hold_queries(const Tile& tile) {
    const int head = tile.first_head + first_row() + lane() / 4;
    const bf16* from = static_cast<const bf16*>(p_.queries) + tile.row * p_.query_stride +
                       kLooseSteps * 16 + lane() % 4 * 2;
#pragma unroll
    for (int step = 0; step < kHeldSteps; ++step) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = head + j % 2 * 8;
        queries_[step][j] = 0;
        if (row >= tile.heads) continue;
        queries_[step][j] = *reinterpret_cast<const std::uint32_t*>(
            from + row * p_.query_head_stride + step * 16 + j / 2 * 8);
      }
    }
  }

  // Starts the scores of this warpgroup's next block, in the order in which its columns come.
  __device__ __forceinline__ void start_scores(float (&scores)[kScores]) {
    for (int i = 0; i < kParts; ++i) {
      barrier_wait(shared_.full(score_at_.stage, part_order(Group, i)), score_at_.parity);
    }
    fence_shared_for_wgmma();
    const std::uint64_t queries = swizzled_operand(shared_.queries(0), 16, 1024);
    const std::uint64_t keys = swizzled_operand(shared_.keys(score_at_.stage, 0), 16, 1024);
    wgmma_begin();
#pragma unroll
    for (int step = 0; step < kLooseSteps + kHeldSteps; ++step) {
      const int unit = step / 4, column = step % 4 * 32;
      const std::uint64_t b = moved(keys, unit * S::kUnitBytes + column);
      if (step < kLooseSteps) {
        wgmma_bf16(scores, moved(queries, unit * kQueryUnitBytes + column), b, step > 0);
      } else {
        wgmma_bf16(scores, queries_[step - kLooseSteps], b, true);
      }
    }
    wgmma_commit();
    score_at_.advance(kGroups);
  }

  // Probabilities of this block for the other warpgroup.
  __device__ void store_weights(const std::uint32_t (&weights)[kSteps][4]) {
    // The last columns of the keys give way when all four warps have finished their scores.
    if constexpr (kHeldSteps > 0) partial_barrier<1 + Group, kGroupThreads>();
    const std::uint32_t to =
        shared_.weights(at_.stage) + narrow_chunk(first_row() + lane() % 16, lane() / 16);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      store_matrices(to + static_cast<std::uint32_t>(step * kWeightsBytes), weights[step]);
    }
    if (lane() % 4 == 0) {
      for (int r = 0; r < 2; ++r) store_shared(shared_.peaks(Group) + line(r), softmax_.peak[r]);
    }
    fence_shared_for_wgmma();
    barrier_arrive(shared_.weighed(at_.stage));
  }

  template <bool First>  // nothing to shrink yet
  __device__ __forceinline__ void shrink_sums(float (&out)[128], const float (&shrink)[2]) {
    if (!First && __any_sync(kAllLanes, shrink[0] != 1.0f || shrink[1] != 1.0f)) {
#pragma unroll
      for (int j = 0; j < 128; ++j) out[j] *= shrink[j / 2 % 2];
    }
    if (!First) hold(out);
  }

  // out[64 heads, 256 columns] += probabilities x values of a block, under way when this returns;
  // product(step, values) multiplies 16 keys.
  template <typename Product>
  __device__ __forceinline__ void start_values(float (&out)[128], const Product& product) {
    const std::uint64_t values =
        swizzled_operand(shared_.keys(at_.stage, Group * kPartUnits), S::kUnitBytes, 1024);
    wgmma_begin();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      product(step, moved(values, step * 16 * 128));
    }
    wgmma_commit();
    before_ = at_.stage;
    at_.advance(1);
  }

  // Waits for the other warpgroup.
  __device__ void meet() {
    barrier_arrive(shared_.met());
    barrier_wait(shared_.met(), met_parity_);
    met_parity_ ^= 1;
  }

  // Sums of both warpgroups' keys, in one order.
  __device__ void exchange_sums(float (&sum)[2]) {
    // Everybody has read the last maxima.
    meet();
    for (int r = 0; r < 2; ++r) {
      const float total = softmax_.total(r);
      if (lane() % 4 == 0) store_shared(shared_.peaks(Group) + line(r), total);
    }
    meet();
    for (int r = 0; r < 2; ++r) {
      sum[r] = load_shared(shared_.peaks(0) + line(r)) + load_shared(shared_.peaks(1) + line(r));
    }
    meet();
  }

  const SparseAttentionParams& p_;
  const Tiles<kTileHeads, keys_of>& tiles_;
  const Shared& shared_;
  Turn<kSlots> at_, score_at_;  // of the next values and of the next scores
  int before_ = 0;              // slot of the last block whose values were started
  unsigned met_parity_ = 0;
  int count_ = 0, blocks_ = 0;
  Softmax softmax_;
  std::uint32_t queries_[kHeldSteps > 0 ? kHeldSteps : 1][4];
  unsigned member_[2];  // bits of the queries of this thread's rows, of packs
};

// Gathers Units units of a block of keys, when they are free.
template <int Units, typename RowIn>
__device__ __forceinline__ void fill_part(const Shared& shared, const Turn<kSlots>& at, int part,
                                          const RowIn& row_in) {
  if constexpr (Units == 0) {
    barrier_arrive(shared.full(at.stage, part));
  } else {
#pragma unroll
    for (int pass = 0; pass < kCopyPasses<S>; ++pass) {
      bool present;
      const bf16* row = row_in(pass, present);
      copy_row<Units, S::kUnitBytes>(shared.keys(at.stage, part * kPartUnits), copied_row<S>(pass),
                                     row + part * kPartUnits * 64, present);
    }
    barrier_arrive_after_copies(shared.full(at.stage, part));
  }
}

// Members of a block of a pack's keys.
__device__ void copy_members(const SparseAttentionParams& p, int pack, int block,
                             std::uint32_t to) {
  const int first = 4 * (static_cast<int>(threadIdx.x) - S::kFirstCopier);
  if (first >= S::kKeys) return;
  const Pack& of = p.packed.packs[pack];
  const int key = block * S::kKeys + first;
  const bool present = key < of.keys;
  copy_async_word(to + static_cast<std::uint32_t>(first),
                  p.packed.members + of.begin + (present ? key : 0), present);
}

// The warpgroup that copies queries and gathers keys.
template <KeysOf keys_of>
__device__ void gather(const SparseAttentionParams& p, const Tiles<kTileHeads, keys_of>& tiles,
                       const Shared& shared) {
  RowsAhead<S, Tiles<kTileHeads, keys_of>> rows(p, tiles);
  Turn<kSlots> at;
  unsigned query_parity = 0;
  rows.for_blocks([&](int tile, int block, const auto& row_in) {
    for (int i = 0; i < kRest; ++i) {
      const int part = part_order(block % kGroups, i);
      barrier_wait(shared.empty(at.stage, part), at.parity ^ 1);
      fill_part<kPartUnits>(shared, at, part, row_in);
    }
    barrier_wait(shared.empty(at.stage, kRest), at.parity ^ 1);
    if (keys_of == KeysOf::pack) copy_members(p, tile, block, shared.members(at.stage));
    fill_part<Keys<keys_of>::kRestUnits>(shared, at, kRest, row_in);
    if (block == 0) {
      barrier_wait(shared.queries_empty(), query_parity ^ 1);
      copy_queries<S, kUnits - 1, kQueryUnitBytes>(p, tiles, tile, shared.queries(0));
      barrier_arrive_after_copies(shared.queries_full());
      query_parity ^= 1;
    }
    at.advance(1);
  });
  copy_async_commit();
  copy_async_wait<0>();
}

template <KeysOf keys_of>
__global__ void __launch_bounds__(S::kThreads, 1) attention_sm90_kernel(SparseAttentionParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) char memory[];
  const Shared shared{shared_address(memory)};
  const Tiles<kTileHeads, keys_of> tiles(p);
  shared.init();
  if (threadIdx.x >= S::kFirstCopier) {
    leave_registers<kCopyRegisters>();
    gather(p, tiles, shared);
  } else if (threadIdx.x < kGroupThreads) {
    take_registers<kMathRegisters>();
    Multiplier<0, keys_of>(p, tiles, shared).run();
  } else {
    take_registers<kMathRegisters>();
    Multiplier<1, keys_of>(p, tiles, shared).run();
  }
#endif
}

template <KeysOf keys_of>
cudaError_t launch(const SparseAttentionParams& p, cudaStream_t stream) {
  const auto kernel = attention_sm90_kernel<keys_of>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kBytes);
  if (status != cudaSuccess) return status;
  const std::int64_t tiles = p.rows * ceil_div(p.heads, kTileHeads);
  const int blocks = static_cast<int>(tiles < multiprocessors() ? tiles : multiprocessors());
  kernel<<<blocks, S::kThreads, S::kBytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace

bool sparse_attention_sm90_applies(const SparseAttentionParams& p) {
  const bool windowed = p.recent != nullptr;
  return p.type == Type::bf16 && p.key_width == (windowed ? kValueWidth : kKeyWidth) &&
         p.value_width == kValueWidth && p.scale > 0 &&
         p.rows * ceil_div(p.heads, kTileHeads) <= INT32_MAX / 2 &&
         aligned(p.queries, p.query_stride | p.query_head_stride) &&
         aligned(p.keys, p.key_stride) && aligned(p.recent, p.recent_stride) &&
         aligned(p.out, p.out_stride | p.out_head_stride) && has_warpgroups();
}

cudaError_t sparse_attention_sm90(const SparseAttentionParams& params, cudaStream_t stream) {
  if (!sparse_attention_sm90_applies(params)) return cudaErrorInvalidValue;
  return params.recent != nullptr ? launch<KeysOf::window_and_query>(params, stream)
                                  : launch<KeysOf::query>(params, stream);
}

cudaError_t sparse_attention_packs_sm90(const SparseAttentionParams& params, cudaStream_t stream) {
  const bool applies = sparse_attention_sm90_applies(params) && params.recent == nullptr &&
                       params.packed.queries > 0 &&
                       params.packed.queries * params.heads <= kTileHeads && heads_follow(params);
  return applies ? launch<KeysOf::pack>(params, stream) : cudaErrorInvalidValue;
}

}  // namespace indexcache::kernels
