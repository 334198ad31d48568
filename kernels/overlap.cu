// SPDX-License-Identifier: Apache-2.0
#include "kernels/architecture.h"
#include "kernels/mma.cuh"
#include "kernels/overlap.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kResident = 1;          // blocks of a multiprocessor
constexpr int kDepth = 8;             // words of a product: 256 positions
constexpr int kUnit = 32;             // of the words of a window
constexpr int kPad = 4;               // words after a bitmap: the 8 layers of a load in other banks
constexpr int kReserved = 4096;       // bytes per block for the runtime and for `Shared`
constexpr int kNowhere = 0x7fffffff;  // beyond every position
constexpr int kMostSum = 1 << 30;     // that a counter may reach before it is flushed

// For up to 16 * Blocks layers. Products are tiles of 16 x 8 layers, those that reach above the
// diagonal. They are dealt to roles by rows of tiles, a long row with a short one, so that the sums
// of a warp fit in its registers; the warps of a role share the positions of a window.
template <int Blocks>
struct Shape {
  static constexpr int kLayers = 16 * Blocks;
  static constexpr int kEach = kLayers / kWarps;  // layers that a warp fills
  static constexpr int kRoles = Blocks <= 3 ? 1 : (Blocks + 1) / 2;
  static constexpr int kTiles = Blocks <= 3 ? Blocks * (Blocks + 1) : 2 * Blocks + 2;
  static constexpr int kGroup = Blocks <= 4 ? 4 : 2;  // positions that a lane has ahead of a layer

  __host__ __device__ static constexpr int role_of(int row) {
    return kRoles == 1 ? 0 : row < Blocks - 1 - row ? row : Blocks - 1 - row;
  }
  // Of the tile of a row on the diagonal, among the tiles of its role.
  __host__ __device__ static constexpr int first_tile(int row) {
    if (kRoles == 1) return 2 * Blocks * row - row * (row - 1);
    return row <= Blocks - 1 - row ? 0 : 2 * (row + 1);  // after those of row Blocks - 1 - row
  }
};

template <int Blocks>
struct Shared {
  const std::int32_t* sets[Shape<Blocks>::kLayers];  // of the row, null where there is no layer
  int begins[Shape<Blocks>::kLayers];                // of what is ahead, in the set
  int next[2];  // the lowest position after the window, of even and odd windows
};

// The part of a layer's set that no window has covered yet: 32 * kGroup positions of a warp.
template <int Blocks>
struct Ahead {
  using S = Shape<Blocks>;
  int positions[S::kEach][S::kGroup];  // kNowhere after the end

  __device__ static int layer(int own) {
    return own * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  }

  __device__ void load(const Shared<Blocks>& shared, int own, int k) {
    const std::int32_t* set = shared.sets[layer(own)];
    const int i = shared.begins[layer(own)] + S::kGroup * (static_cast<int>(threadIdx.x) % kWarp);
    int(&to)[S::kGroup] = positions[own];
    if (set != nullptr && i + S::kGroup <= k &&
        reinterpret_cast<std::uintptr_t>(set + i) % (4 * S::kGroup) == 0) {
      if constexpr (S::kGroup == 4) {
        const int4 four = *reinterpret_cast<const int4*>(set + i);
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
      } else {
        const int2 two = *reinterpret_cast<const int2*>(set + i);
        to[0] = two.x, to[1] = two.y;
      }
    } else {
#pragma unroll
      for (int j = 0; j < S::kGroup; ++j) to[j] = set != nullptr && i + j < k ? set[i + j] : -1;
    }
#pragma unroll
    for (int j = 0; j < S::kGroup; ++j) to[j] = to[j] < 0 ? kNowhere : to[j];
  }

  __device__ void begin(const Shared<Blocks>& shared, int k) {
#pragma unroll
    for (int own = 0; own < S::kEach; ++own) load(shared, own, k);
  }

  // The lowest position from `end` on, of this lane.
  __device__ int lowest(int end) const {
    int low = kNowhere;
#pragma unroll
    for (int own = 0; own < S::kEach; ++own) {
#pragma unroll
      for (int j = 0; j < S::kGroup; ++j) {
        if (positions[own][j] >= end) low = min(low, positions[own][j]);
      }
    }
    return low;
  }
};

// Sets the bits of ascending positions, of neighbors in one word together.
template <int Group>
__device__ void set_bits(unsigned* bitmap, const int (&positions)[Group], int first, int width) {
  int word = -1;
  unsigned bits = 0;
#pragma unroll
  for (int j = 0; j < Group; ++j) {
    const int at = positions[j] - first;
    if (at < 0 || at >= width) continue;  // in an earlier window, or a later one
    if (at / 32 != word) {
      if (bits != 0) atomicOr(&bitmap[word], bits);
      word = at / 32, bits = 0;
    }
    bits |= 1u << (at % 32);
  }
  if (bits != 0) atomicOr(&bitmap[word], bits);
}

// Sets the bits of positions [first, first + 32 * words) of this warp's layers. Loads of all layers
// are under way together.
template <int Blocks>
__device__ void fill(Shared<Blocks>& shared, Ahead<Blocks>& ahead, unsigned* bitmaps, int words,
                     int first, int k) {
  using S = Shape<Blocks>;
  const int end = first + 32 * words;
  unsigned open = (1u << S::kEach) - 1;
  while (open != 0) {
#pragma unroll
    for (int own = 0; own < S::kEach; ++own) {
      if ((open >> own & 1) == 0) continue;
      unsigned* bitmap = bitmaps + ahead.layer(own) * (words + kPad);
      set_bits(bitmap, ahead.positions[own], first, 32 * words);
      if (__all_sync(kAllLanes, ahead.positions[own][S::kGroup - 1] < end) != 0) {
        if (threadIdx.x % kWarp == 0) shared.begins[ahead.layer(own)] += kWarp * S::kGroup;
        __syncwarp();
        ahead.load(shared, own, k);
      } else {
        open &= ~(1u << own);
      }
    }
  }
}

// Adds the products of 256 positions; `words` are this lane's of layer lane / 4. A role that is
// by itself clears the words that it has read.
template <int Blocks, int Role>
__device__ void multiply_chunk(int (&sums)[Shape<Blocks>::kTiles][4], unsigned* words, int stride) {
  using S = Shape<Blocks>;
  unsigned rows[Blocks][4];
  unsigned any = 0;
#pragma unroll
  for (int i = 0; i < Blocks; ++i) {
    if (S::role_of(i) != Role) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      rows[i][half] = words[(16 * i + 8 * half) * stride];
      rows[i][half + 2] = words[(16 * i + 8 * half) * stride + kDepth / 2];
      any |= rows[i][half] | rows[i][half + 2];
    }
  }
  if (__any_sync(kAllLanes, any != 0) == 0) return;
#pragma unroll
  for (int j = 2 * Role; j < 2 * Blocks; ++j) {
    const bool held = S::role_of(j / 2) == Role;
    const unsigned low = held ? rows[j / 2][j % 2] : words[8 * j * stride];
    const unsigned high = held ? rows[j / 2][j % 2 + 2] : words[8 * j * stride + kDepth / 2];
#pragma unroll
    for (int i = 0; i < Blocks; ++i) {
      if (S::role_of(i) != Role || j < 2 * i) continue;
      mma_bits(sums[S::first_tile(i) + j - 2 * i], rows[i], low, high);
    }
    if (S::kRoles == 1) words[8 * j * stride] = 0, words[8 * j * stride + kDepth / 2] = 0;
  }
}

// Adds the products of a window.
template <int Blocks, int Role = 0>
__device__ void multiply(int role, int (&sums)[Shape<Blocks>::kTiles][4], unsigned* bitmaps,
                         int words) {
  using S = Shape<Blocks>;
  if (role == Role) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int slice = static_cast<int>(threadIdx.x) / kWarp / S::kRoles;
    constexpr int kSlices = (kWarps - Role + S::kRoles - 1) / S::kRoles;
    const int stride = words + kPad;
    unsigned* own = bitmaps + lane / 4 * stride + lane % 4;
    for (int chunk = slice; chunk < words / kDepth; chunk += kSlices) {
      multiply_chunk<Blocks, Role>(sums, own + chunk * kDepth, stride);
    }
  } else if constexpr (Role + 1 < S::kRoles) {
    multiply<Blocks, Role + 1>(role, sums, bitmaps, words);
  }
}

// Adds the sums of a warp to the block's counters and clears them.
template <int Blocks, int Role = 0>
__device__ void gather_sums(int role, int (&sums)[Shape<Blocks>::kTiles][4], unsigned* counters) {
  using S = Shape<Blocks>;
  if (role == Role) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int i = 0; i < Blocks; ++i) {
      if (S::role_of(i) != Role) continue;
#pragma unroll
      for (int j = 2 * i; j < 2 * Blocks; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int a = 16 * i + lane / 4 + e / 2 * 8, b = 8 * j + lane % 4 * 2 + e % 2;
          int& sum = sums[S::first_tile(i) + j - 2 * i][e];
          if (sum != 0) atomicAdd(&counters[a * S::kLayers + b], static_cast<unsigned>(sum));
          sum = 0;
        }
      }
    }
  } else if constexpr (Role + 1 < S::kRoles) {
    gather_sums<Blocks, Role + 1>(role, sums, counters);
  }
}

// Adds the sums of the block to those of the bucket. Counters lie where the bitmaps do, between
// windows: both are zero whenever the other is in use.
template <int Blocks>
__device__ void flush(const OverlapParams& p, int bucket, int role,
                      int (&sums)[Shape<Blocks>::kTiles][4], unsigned* counters) {
  constexpr int kLayers = Shape<Blocks>::kLayers;
  gather_sums<Blocks>(role, sums, counters);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kLayers * kLayers; i += kThreads) {
    const int a = i / kLayers, b = i % kLayers;
    const unsigned count = counters[i];
    counters[i] = 0;
    if (count == 0 || a > b || b >= p.layers) continue;
    atomicAdd(&p.counts[(std::int64_t{bucket} * p.layers + a) * p.layers + b],
              static_cast<unsigned long long>(count));
  }
  __syncthreads();
}

__device__ void clear(unsigned* bitmaps, int words) {
  for (int i = static_cast<int>(threadIdx.x); i < words; i += kThreads) bitmaps[i] = 0;
}

// Adds the products of one row; bitmaps are zero before and after.
template <int Blocks>
__device__ void multiply_row(const OverlapParams& p, std::int64_t row, Shared<Blocks>& shared,
                             unsigned* bitmaps, int words, int role,
                             int (&sums)[Shape<Blocks>::kTiles][4]) {
  using S = Shape<Blocks>;
  for (int l = static_cast<int>(threadIdx.x); l < S::kLayers; l += kThreads) {
    shared.sets[l] = l < p.layers ? p.sets[l] + row * p.sets_stride : nullptr;
    shared.begins[l] = 0;
  }
  if (threadIdx.x == 0) shared.next[0] = kNowhere;
  __syncthreads();
  Ahead<Blocks> ahead;
  ahead.begin(shared, p.k);
  int first = 0;
  for (int window = 0; first != kNowhere; ++window) {
    fill(shared, ahead, bitmaps, words, first, p.k);
    const int lowest = __reduce_min_sync(kAllLanes, ahead.lowest(first + 32 * words));
    if (threadIdx.x % kWarp == 0) atomicMin(&shared.next[window % 2], lowest);
    __syncthreads();
    const int next = shared.next[window % 2];
    if (threadIdx.x == 0) shared.next[(window + 1) % 2] = kNowhere;
    multiply<Blocks>(role, sums, bitmaps, words);
    __syncthreads();
    if (S::kRoles > 1) {
      clear(bitmaps, S::kLayers * (words + kPad));
      __syncthreads();
    }
    first = next == kNowhere ? next : next / 32 * 32;
  }
}

template <int Blocks>
__global__ void __launch_bounds__(kThreads, kResident) overlap_kernel(OverlapParams p, int words) {
  using S = Shape<Blocks>;
  extern __shared__ unsigned bitmaps[];  // [kLayers, words + kPad]
  __shared__ Shared<Blocks> shared;
  clear(bitmaps, max(S::kLayers * (words + kPad), S::kLayers * S::kLayers));
  const int role = static_cast<int>(threadIdx.x) / kWarp % S::kRoles;
  const int most = max(1, kMostSum / p.k);
  int sums[S::kTiles][4] = {};
  int bucket = -1, queries = 0;
  for (std::int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    const int own = bucket_of(p.bucket_ends, p.places[row].position);
    if (queries == most || (own != bucket && bucket >= 0)) {
      flush<Blocks>(p, bucket, role, sums, bitmaps);
      queries = 0;
    }
    bucket = own;
    multiply_row<Blocks>(p, row, shared, bitmaps, words, role, sums);
    ++queries;
  }
  if (bucket >= 0) flush<Blocks>(p, bucket, role, sums, bitmaps);
}

template <int Blocks>
cudaError_t launch(const OverlapParams& p, cudaStream_t stream) {
  constexpr int kLayers = Shape<Blocks>::kLayers;
  constexpr int kWord = static_cast<int>(sizeof(unsigned));
  const int room = (most_shared_bytes() / kResident - kReserved) / kWord / kLayers - kPad;
  const auto needed = static_cast<int>(ceil_div(p.longest, 32 * kUnit)) * kUnit;
  const int words = needed < room ? needed : room / kUnit * kUnit;
  const int held = words + kPad > kLayers ? words + kPad : kLayers;
  const int bytes = kWord * kLayers * held;
  const auto kernel = overlap_kernel<Blocks>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status != cudaSuccess) return status;
  const std::int64_t resident = std::int64_t{kResident} * multiprocessors();
  const auto blocks = static_cast<unsigned>(p.rows < resident ? p.rows : resident);
  kernel<<<blocks, kThreads, static_cast<std::size_t>(bytes), stream>>>(p, words);
  return cudaGetLastError();
}

}  // namespace

cudaError_t overlap(const OverlapParams& params, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  if (params.layers > kMostOverlapLayers) return cudaErrorInvalidValue;
  if (params.layers <= 32) return launch<2>(params, stream);
  if (params.layers <= 48) return launch<3>(params, stream);
  if (params.layers <= 64) return launch<4>(params, stream);
  if (params.layers <= 80) return launch<5>(params, stream);
  if (params.layers <= 96) return launch<6>(params, stream);
  return launch<8>(params, stream);
}

}  // namespace indexcache::kernels
