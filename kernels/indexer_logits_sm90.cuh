// SPDX-License-Identifier: Apache-2.0
// bf16 and e4m3 scores with the warpgroup tensor cores of Hopper, for the shapes of released
// models: width 128 and 16, 32 or 64 heads. Kernels differ in which queries meet which keys:
// consecutive ones of a sequence (indexer_logits_sm90.cu), or those of a list
// (candidate_logits_sm90.cu).
//
// One block of three warpgroups per multiprocessor. One of them only loads: a warp brings the 256
// columns (the heads of 256 / heads queries) of a piece of work and their weights, two warps bring
// tiles of 64 keys into a ring. The other two take the tiles in turn; each multiplies its tile by
// one half of the columns while it sums the other half over heads, in two banks of accumulators.
// Keys are the M side, and columns are in an order that gives all heads of a query to the same
// thread: ReLU, weights and the sum over heads stay within it.
//
// The bound: e4m3 products of a pair and head take 1 / 32 of a multiprocessor's cycle, ReLU and
// multiply-add 2 / 128 in instructions issued. So the sums hide behind products if they overlap and
// if all the rest (loads, scales, stores, barriers) is at most as much again.
//
// The order of a sum over heads is that of four chains, chain c taking heads 2 c and 2 c + 1 of
// each eight in ascending order, then (0 + 1) + (2 + 3), in whatever tile or launch the pair is.
#pragma once

#include "kernels/indexer_logits.h"
#include "kernels/mbarrier.cuh"
#include "kernels/mma.cuh"
#include "kernels/wgmma.cuh"
#include "kernels/wgmma_columns.cuh"

namespace indexcache::kernels::logits_sm90 {

constexpr int kWidth = 128;
constexpr int kColumns = 256;     // queries times heads of a piece of work
constexpr int kHalf = 128;        // columns of a product
constexpr int kHalfSteps = 16;    // of 8 columns, as in accumulators
constexpr int kKeys = 64;         // of a tile
constexpr int kSpan = 128;        // bytes along the width that swizzle together
constexpr int kSpanChunks = 8;    // of 16 bytes, which a copy brings
constexpr int kSpanSteps = 4;     // of 32 bytes, which an instruction multiplies
constexpr int kChains = 4;        // of a sum over heads
constexpr int kMostQueries = 16;  // of a piece: 16 heads
constexpr int kQueryBuffers = 2;  // the next piece's queries come during this one's products
constexpr int kKeyLoaders = 2;    // warps
constexpr int kMultipliers = 2;   // warpgroups
constexpr int kWarpgroupWarps = 4;
constexpr int kThreads = (kMultipliers + 1) * kWarpgroupWarps * kWarp;
// Of a thread; the launch takes 168 each.
constexpr int kMultiplierRegisters = 232;
constexpr int kLoaderRegisters = 40;

// Work of a block: some tiles of keys for one group of queries.
struct Piece {
  int tiles;  // 0: no more work
  int first_tile;
  int first_key, keys;          // of tile 0: row in the key tensor; how many are needed from there
  int limits[kMostQueries];     // keys that each query needs, from the same on
  long long out[kMostQueries];  // where its score with the first of them goes in `logits`
};

// The part of a piece that a lane of a loading warp knows: query `lane` of it. Queries that do not
// exist have the row of another one and need no keys.
struct LaneQuery {
  int row;
  int limit;
  int column;  // of the first key's score
};

// `P`: the parameters of a kernel, with the operands and results of IndexerLogitsParams.
template <typename T, int Heads, class P>
struct Shape {
  using Params = P;
  static constexpr bool kScaled = sizeof(T) == 1;
  static constexpr int kHeads = Heads;
  static constexpr int kQueries = kColumns / Heads;
  static constexpr int kSteps = Heads / 2;  // a pair of heads of a thread's query each
  static constexpr int kSlots = 2 * kHalfSteps / kSteps;  // queries of a thread
  static constexpr int kRowBytes = kWidth * static_cast<int>(sizeof(T));
  static constexpr int kSpans = kRowBytes / kSpan;
  static constexpr int kChunks = kSpanChunks * kSpans;
  static constexpr int kStages = sizeof(T) == 1 ? 12 : 5;
  static constexpr int kLag = sizeof(T) == 1 ? 5 : 1;  // tiles under way before one is announced
  static constexpr int kHalfBytes = kHalf * kRowBytes;
  static constexpr int kStageBytes = kKeys * kRowBytes;
  static constexpr int kQueryBytes = 2 * kHalfBytes;
  static constexpr int kWeightBytes = kColumns * 4;
  // Offsets in shared memory.
  static constexpr int kStageOffset = kQueryBuffers * kQueryBytes;
  static constexpr int kWeightOffset = kStageOffset + kStages * kStageBytes;
  static constexpr int kBarrierOffset = kWeightOffset + kQueryBuffers * kWeightBytes;
  static constexpr int kPieceOffset = kBarrierOffset + 8 * 2 * (kStages + kQueryBuffers);
  static constexpr int kEnd = kPieceOffset + kQueryBuffers * static_cast<int>(sizeof(Piece));
  static constexpr int kBytes = kEnd + 1024;  // and alignment
  static_assert(kBytes <= 227 * 1024);
  static_assert(kQueries <= kMostQueries);
  // A warpgroup holds a tile while it waits for its next.
  static_assert(kStages - kLag > kMultipliers);

  // Columns 8 step + 2 quad and the next are two heads, from head_of(step) on, of query
  // query_of(step, quad): those accumulators belong to the threads with lane % 4 == quad.
  __device__ static int query_of(int step, int quad) { return step / kSteps * 4 + quad; }
  __device__ static int head_of(int step) { return step % kSteps * 2; }
};

// Addresses of shared memory. A full barrier ends a phase when its stage or buffer is filled, an
// empty one when it is free again.
template <class S>
struct Memory {
  std::uint32_t start;  // a multiple of 1,024
  char* pointer;        // of the same

  __device__ std::uint32_t at(int offset) const {
    return start + static_cast<std::uint32_t>(offset);
  }
  __device__ std::uint32_t queries(int buffer) const { return at(buffer * S::kQueryBytes); }
  __device__ std::uint32_t keys(int stage) const {
    return at(S::kStageOffset + stage * S::kStageBytes);
  }
  __device__ std::uint32_t barrier(int i) const { return at(S::kBarrierOffset + 8 * i); }
  __device__ std::uint32_t queries_full(int i) const { return barrier(i); }
  __device__ std::uint32_t queries_empty(int i) const { return barrier(kQueryBuffers + i); }
  __device__ std::uint32_t full(int i) const { return barrier(2 * kQueryBuffers + i); }
  __device__ std::uint32_t empty(int i) const {
    return barrier(2 * kQueryBuffers + S::kStages + i);
  }
  __device__ float* weights(int buffer) const {
    return reinterpret_cast<float*>(pointer + S::kWeightOffset + buffer * S::kWeightBytes);
  }
  __device__ Piece& piece(int buffer) const {
    return reinterpret_cast<Piece*>(pointer + S::kPieceOffset)[buffer];
  }
};

// A warp brings the columns of a piece; lane i knows the row of query i. A copy by the warp brings
// columns whose places within a group of 8 are the same for every group, so that all addresses are
// constants apart from few.
template <class S>
__device__ void copy_columns(const typename S::Params& p, int lane_row, std::uint32_t to) {
  constexpr int kPerCopy = kWarp / S::kChunks;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int chunk = lane % S::kChunks;
  const std::uint32_t span = to + static_cast<std::uint32_t>(chunk / kSpanChunks * kHalf * kSpan);
#pragma unroll 1
  for (int slot = 0; slot < S::kSlots; ++slot) {
#pragma unroll 1
    for (int phase = 0; phase < 8 / kPerCopy; ++phase) {
      const int within = phase * kPerCopy + lane / S::kChunks;
      const std::int64_t row =
          __shfl_sync(kAllLanes, lane_row, S::query_of(slot * S::kSteps, within / 2));
      const char* const from = static_cast<const char*>(p.queries) +
                               (row * S::kHeads + within % 2) * S::kRowBytes + chunk * 16;
      const int step = slot * S::kSteps;
      const std::uint32_t first = span + swizzled_chunk(within, chunk % kSpanChunks) +
                                  static_cast<std::uint32_t>(step / kHalfSteps * S::kHalfBytes +
                                                             step % kHalfSteps * 8 * kSpan);
#pragma unroll 8
      for (int i = 0; i < S::kSteps; ++i) {
        const int at = i / kHalfSteps * S::kHalfBytes + i % kHalfSteps * 8 * kSpan;
        copy_async(first + static_cast<std::uint32_t>(at), from + S::head_of(i) * S::kRowBytes,
                   true);
      }
    }
  }
}

// The warp that brings queries, their weights and what is to be done with them. `work` calls
// body(piece, lane's query) for the pieces of this block, of which `limits` and `out` are not set.
template <class S, class Work>
__device__ void load_queries(const typename S::Params& p, const Work& work,
                             const Memory<S>& memory) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  Turn<kQueryBuffers> turn;
  work.for_pieces([&](const Piece& next, const LaneQuery& query) {
    barrier_wait(memory.queries_empty(turn.stage), turn.parity ^ 1);
    copy_columns<S>(p, query.row, memory.queries(turn.stage));
    const std::uint32_t weights = shared_address(memory.weights(turn.stage));
#pragma unroll 1
    for (int first = 0; first < kColumns; first += 4 * kWarp) {
      const int i = first + 4 * lane;
      const std::int64_t row = __shfl_sync(kAllLanes, query.row, i / S::kHeads);
      copy_async(weights + static_cast<std::uint32_t>(i) * 4,
                 p.head_weights + row * S::kHeads + i % S::kHeads, true);
    }
    Piece& piece = memory.piece(turn.stage);
    if (lane < S::kQueries) {
      piece.limits[lane] = query.limit;
      piece.out[lane] = query.row * p.logits_stride + query.column;
    }
    if (lane == 0) {
      piece.tiles = next.tiles;
      piece.first_tile = next.first_tile;
      piece.first_key = next.first_key;
      piece.keys = next.keys;
    }
    copy_async_commit();
    copy_async_wait<0>();
    fence_shared_for_wgmma();
    barrier_arrive(memory.queries_full(turn.stage));
    turn.advance(1);
  });
  barrier_wait(memory.queries_empty(turn.stage), turn.parity ^ 1);
  if (lane == 0) memory.piece(turn.stage).tiles = 0;
  barrier_arrive(memory.queries_full(turn.stage));
}

// One of the warps that bring keys: it copies its rows of every tile.
template <class S>
struct KeyLoader {
  static constexpr int kRows = kKeys / kKeyLoaders;
  static constexpr int kStep = kWarp / S::kChunks;  // rows of a copy by the warp, a power of two

  const typename S::Params& p;
  const Memory<S>& memory;
  const int loader;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int chunk = lane % S::kChunks, lane_row = lane / S::kChunks;

  // Begins the copies of a tile of a piece. Keys that are not needed are zero.
  __device__ void load(const Piece& piece, int tile, int stage) const {
    const int first = tile * kKeys + loader * kRows;
    const std::int64_t row = std::int64_t{piece.first_key} + first;
    const std::uint32_t swizzle = static_cast<std::uint32_t>((chunk % kSpanChunks ^ lane_row) * 16);
    const std::uint32_t to =
        memory.keys(stage) + static_cast<std::uint32_t>(chunk / kSpanChunks * kKeys * kSpan +
                                                        (loader * kRows + lane_row) * kSpan);
    const char* const from =
        static_cast<const char*>(p.keys) + (row + lane_row) * S::kRowBytes + chunk * 16;
    const auto copy = [&](int i, const void* source, bool present) {
      copy_async(to + (swizzle ^ (i * kStep % 8 * 16)) + i * kStep * kSpan, source, present);
    };
    if (first + kRows <= piece.keys) {
#pragma unroll
      for (int i = 0; i < S::kChunks; ++i) copy(i, from + i * kStep * S::kRowBytes, true);
    } else {
#pragma unroll 1
      for (int i = 0; i < S::kChunks; ++i) {
        const bool present = first + i * kStep + lane_row < piece.keys;
        copy(i, present ? from + i * kStep * S::kRowBytes : p.keys, present);
      }
    }
    copy_async_commit();
  }
};

// A tile is announced when kLag later ones are under way.
template <class S, class Work>
__device__ void load_keys(const typename S::Params& p, const Work& work, const Memory<S>& memory,
                          int loader) {
  const KeyLoader<S> keys{p, memory, loader};
  Turn<S::kStages> next, landed;
  int under_way = 0;
  const auto announce = [&] {
    fence_shared_for_wgmma();
    __syncwarp();
    if (keys.lane == 0) barrier_arrive(memory.full(landed.stage));
    landed.advance(1);
    --under_way;
  };
  work.for_pieces([&](const Piece& piece, const LaneQuery&) {
    for (int tile = piece.first_tile; tile < piece.first_tile + piece.tiles; ++tile) {
      barrier_wait(memory.empty(next.stage), next.parity ^ 1);
      keys.load(piece, tile, next.stage);
      next.advance(1);
      if (++under_way <= S::kLag) continue;
      copy_async_wait<S::kLag>();
      announce();
    }
  });
  copy_async_wait<0>();
  while (under_way > 0) announce();
}

// Keys or columns as products read them.
__device__ inline std::uint64_t operand_at(std::uint32_t address) {
  return swizzled_operand(address, 16, 8 * kSpan);
}

// Begins d[64 keys, 128 columns] = keys x columns^T.
template <class S>
__device__ __forceinline__ void begin_product(float (&d)[64], std::uint64_t keys,
                                              std::uint64_t columns) {
  wgmma_begin();
#pragma unroll
  for (int step = 0; step < kSpanSteps * S::kSpans; ++step) {
    const int span = step / kSpanSteps, within = step % kSpanSteps * 32;
    const std::uint64_t a = moved(keys, span * kKeys * kSpan + within);
    const std::uint64_t b = moved(columns, span * kHalf * kSpan + within);
    if constexpr (S::kScaled) {
      wgmma_e4m3(d, a, b, step > 0);
    } else {
      wgmma_bf16(d, a, b, step > 0);
    }
  }
  wgmma_commit();
}

// What a thread that multiplies keeps of a piece. It has two keys of a tile, `low` and 8 later.
template <class S>
struct ThreadPiece {
  std::uint64_t columns;          // the operand with the first half of them
  int key;                        // row of its low key in tile 0
  int keys;                       // the number of keys, counted from the same
  float weights[4 * kHalfSteps];  // of its columns
  float* out[S::kSlots];          // the scores of its low key in tile 0
  int limits[S::kSlots];          // the number of those keys, counted from the same

  __device__ __forceinline__ void read(const typename S::Params& p, const Memory<S>& memory,
                                       int buffer, int thread_key) {
    const Piece& piece = memory.piece(buffer);
    const int quad = static_cast<int>(threadIdx.x) % 4;
    columns = operand_at(memory.queries(buffer));
    key = piece.first_key + thread_key;
    keys = piece.keys - thread_key;
#pragma unroll
    for (int step = 0; step < 2 * kHalfSteps; ++step) {
      const int column = S::query_of(step, quad) * S::kHeads + S::head_of(step);
      const float2 pair = *reinterpret_cast<const float2*>(memory.weights(buffer) + column);
      weights[2 * step] = pair.x;
      weights[2 * step + 1] = pair.y;
    }
#pragma unroll
    for (int slot = 0; slot < S::kSlots; ++slot) {
      const int query = S::query_of(slot * S::kSteps, quad);
      out[slot] = p.logits + piece.out[query] + thread_key;
      asm volatile("" : "+l"(out[slot]));  // or the compiler computes it for every tile
      limits[slot] = piece.limits[query] - thread_key;
    }
  }
};

// A thread's part of a tile: its place, its keys' scales and their sums under way.
struct ThreadTile {
  int number;
  float low_scale, high_scale;
  float low[kChains], high[kChains];
};

__device__ inline float relu(float x) {
  return fmaxf(x, 0.0f);
}

// Adds the products with a half of the columns to the sums and stores those that are complete.
template <class S, int Half>
__device__ __forceinline__ void sum_heads(const ThreadPiece<S>& piece, const float (&d)[64],
                                          ThreadTile& tile) {
#pragma unroll
  for (int i = 0; i < kHalfSteps; ++i) {
    const int step = Half * kHalfSteps + i, slot = step / S::kSteps;
    if (step % S::kSteps == 0) {
#pragma unroll
      for (int chain = 0; chain < kChains; ++chain) tile.low[chain] = tile.high[chain] = 0;
    }
    float& low = tile.low[i % kChains];
    float& high = tile.high[i % kChains];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      low = fmaf(piece.weights[2 * step + j], relu(d[4 * i + j]), low);
      high = fmaf(piece.weights[2 * step + j], relu(d[4 * i + 2 + j]), high);
    }
    if (step % S::kSteps != S::kSteps - 1) continue;
    float* const out = piece.out[slot] + tile.number * kKeys;
    const int limit = piece.limits[slot] - tile.number * kKeys;
    const float a = (tile.low[0] + tile.low[1]) + (tile.low[2] + tile.low[3]);
    const float b = (tile.high[0] + tile.high[1]) + (tile.high[2] + tile.high[3]);
    if (0 < limit) *out = a * tile.low_scale;
    if (8 < limit) out[8] = b * tile.high_scale;
  }
}

// A warpgroup that multiplies.
template <class S>
struct Multiplier {
  const typename S::Params& p;
  const Memory<S>& memory;
  Turn<S::kStages> turn;  // of the warpgroup's next tile
  int next;               // that tile, counted from the first of the piece
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int key = static_cast<int>(threadIdx.x) / kWarp % kWarpgroupWarps * 16 + lane / 4;
  const std::uint64_t first_keys = operand_at(memory.keys(0));

  __device__ std::uint64_t keys() const { return moved(first_keys, turn.stage * S::kStageBytes); }

  __device__ void arrive(std::uint32_t barrier) const {
    __syncwarp();
    if (lane == 0) barrier_arrive(barrier);
  }

  // Scales are first used half a product later, which hides their way from the L2.
  __device__ ThreadTile read_tile(const ThreadPiece<S>& piece, int number) const {
    ThreadTile tile;
    tile.number = number;
    tile.low_scale = tile.high_scale = 1;
    if constexpr (S::kScaled) {
      const float* const scales = p.key_scales + piece.key + number * kKeys;
      const int keys = piece.keys - number * kKeys;
      if (0 < keys) tile.low_scale = __ldg(scales);
      if (8 < keys) tile.high_scale = __ldg(scales + 8);
    }
    return tile;
  }

  // Multiplies and sums the warpgroup's tiles of a piece. `over` is a phase that has ended.
  __device__ __forceinline__ void take_tiles(const ThreadPiece<S>& piece, int first_tile, int tiles,
                                             std::uint32_t over, unsigned parity,
                                             float (&bank0)[64], float (&bank1)[64]) {
    if (next >= tiles) return;
    turn = agreed(turn);
    barrier_wait(memory.full(turn.stage), turn.parity);
    begin_product<S>(bank0, keys(), piece.columns);
    wgmma_wait(bank0);
    while (true) {
      begin_product<S>(bank1, keys(), moved(piece.columns, S::kHalfBytes));
      ThreadTile tile = read_tile(piece, first_tile + next);
      const int stage = turn.stage;
      turn.advance(kMultipliers);
      turn = agreed(turn);
      next += kMultipliers;
      if (next >= tiles) {
        sum_heads<S, 0>(piece, bank0, tile);
        wgmma_wait(bank1);
        arrive(memory.empty(stage));
        sum_heads<S, 1>(piece, bank1, tile);
        return;
      }
      barrier_wait(memory.full(turn.stage), turn.parity);
      sum_heads<S, 0>(piece, bank0, tile);
      wgmma_wait(bank1);
      begin_product<S>(bank0, keys(), piece.columns);
      barrier_wait(over, parity);  // the compiler moves no sums up between products across a branch
      arrive(memory.empty(stage));
      sum_heads<S, 1>(piece, bank1, tile);
      wgmma_wait(bank0);
    }
  }

  __device__ __forceinline__ void run() {
    float bank0[64], bank1[64];
#pragma unroll
    for (int i = 0; i < 64; ++i) bank0[i] = bank1[i] = 0;
    Turn<kQueryBuffers> buffer;
    while (true) {
      const std::uint32_t full = memory.queries_full(buffer.stage);
      barrier_wait(full, buffer.parity);
      buffer = agreed(buffer);
      const int tiles = memory.piece(buffer.stage).tiles;
      const int first_tile = memory.piece(buffer.stage).first_tile;
      if (tiles == 0) break;
      ThreadPiece<S> piece;
      piece.read(p, memory, buffer.stage, key);
      take_tiles(piece, first_tile, tiles, full, buffer.parity, bank0, bank1);
      next -= tiles;
      barrier_arrive(memory.queries_empty(buffer.stage));
      buffer.advance(1);
    }
  }
};

template <class S>
__device__ Memory<S> memory_of(char* dynamic) {
  const std::uint32_t start = (shared_address(dynamic) + 1023u) & ~1023u;
  return {start, dynamic + (start - shared_address(dynamic))};
}

template <class S>
__device__ void make_barriers(const Memory<S>& memory) {
  for (int stage = 0; stage < S::kStages; ++stage) {
    barrier_make(memory.full(stage), kKeyLoaders);
    barrier_make(memory.empty(stage), kWarpgroupWarps);
  }
  for (int buffer = 0; buffer < kQueryBuffers; ++buffer) {
    barrier_make(memory.queries_full(buffer), kWarp);
    barrier_make(memory.queries_empty(buffer), kMultipliers * kWarpgroupWarps * kWarp);
  }
}

// What the block of a kernel does, with work that every loading warp walks over by itself.
template <class S, class Work>
__device__ void run_block(const typename S::Params& p, const Work& work, const Memory<S>& memory) {
  const int warp = agreed(static_cast<int>(threadIdx.x) / kWarp);
  const int warpgroup = warp / kWarpgroupWarps;
  if (warpgroup < kMultipliers) {
    take_registers<kMultiplierRegisters>();
    Multiplier<S>{p, memory, {warpgroup, 0}, warpgroup}.run();
  } else {
    leave_registers<kLoaderRegisters>();
    const int loader = warp % kWarpgroupWarps;
    if (loader < kKeyLoaders) load_keys<S>(p, work, memory, loader);
    if (loader == kKeyLoaders) load_queries<S>(p, work, memory);
  }
}

}  // namespace indexcache::kernels::logits_sm90
