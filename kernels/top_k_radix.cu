// SPDX-License-Identifier: Apache-2.0
// Top-k for every k, by radix selection in global memory, one block per row: a histogram of the 12
// highest bits of the key, then of 10 and 10 more if needed. As soon as what can still win fits in
// shared memory it is copied there in order, so that a row is usually read twice.
#include "kernels/top_k.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kWidestBins = 4096;  // of the widest digit

// The scores of a row in global memory.
struct RowSource {
  const float* scores;
  int count;

  // Keys of elements [i, i + 4); absent ones are not written.
  __device__ int load(int i, std::uint32_t keys[4], int indices[4]) const {
    const int n = max(0, min(4, count - i));
    float values[4] = {};
    // Not `n == 4`: ptxas 13.0 takes that from the clamp's own predicate, which also holds at 0.
    if (i + 4 <= count) {
      const float4 four = *reinterpret_cast<const float4*>(scores + i);
      values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
    } else {
      for (int j = 0; j < 4; ++j) {
        if (j < n) values[j] = scores[i + j];
      }
    }
    for (int j = 0; j < 4; ++j) keys[j] = sortable(values[j]), indices[j] = i + j;
    return n;
  }
};

// Elements that were copied to shared memory, in ascending order of their positions.
struct ListSource {
  const std::uint32_t* keys_;
  const int* indices_;
  int count;

  __device__ int load(int i, std::uint32_t keys[4], int indices[4]) const {
    const int n = max(0, min(4, count - i));
    for (int j = 0; j < 4; ++j) {
      keys[j] = j < n ? keys_[i + j] : 0;
      indices[j] = j < n ? indices_[i + j] : 0;
    }
    return n;
  }
};

// Bins are read by runs of kWidestBins / Threads neighbors per thread: a gap after each run keeps
// the threads of a warp in different banks.
template <int Threads>
__device__ int slot_of(int bin) {
  return bin + bin / (kWidestBins / Threads);
}

template <int Threads, int Capacity>
struct Shared {
  std::uint32_t histogram[kWidestBins + Threads];
  std::uint32_t keys[Capacity];
  int indices[Capacity];
  unsigned totals[2][kWarp];
  int digit, above, inside;
};

// Exclusive sum over the block in thread order, and the block's total. One barrier; `round`
// alternates the buffer, so that the next call cannot overtake this one's readers.
template <int Threads>
__device__ unsigned round_scan(unsigned value, unsigned (*totals)[kWarp], int round,
                               unsigned& total) {
  constexpr int kWarps = Threads / kWarp;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  unsigned inclusive = value;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const unsigned other = __shfl_up_sync(kAllLanes, inclusive, offset);
    if (lane >= offset) inclusive += other;
  }
  if (lane == kWarp - 1) totals[round & 1][warp] = inclusive;
  __syncthreads();
  unsigned of_warps = lane < kWarps ? totals[round & 1][lane] : 0;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const unsigned other = __shfl_up_sync(kAllLanes, of_warps, offset);
    if (lane >= offset) of_warps += other;
  }
  total = __shfl_sync(kAllLanes, of_warps, kWarp - 1);
  const unsigned before = __shfl_sync(kAllLanes, of_warps, (warp + kWarp - 1) % kWarp);
  return inclusive - value + (warp == 0 ? 0 : before);
}

// Counts the digits of the elements whose higher bits equal `prefix`.
template <int Threads, int Capacity, typename Source>
__device__ void count_digits(Shared<Threads, Capacity>& shared, const Source& source,
                             std::uint32_t prefix, int known, int bits) {
  for (int b = threadIdx.x; b < (1 << bits); b += Threads)
    shared.histogram[slot_of<Threads>(b)] = 0;
  __syncthreads();
  const int shift = 32 - known - bits;
  const std::uint32_t mask = (1u << bits) - 1;
  const int rounds = static_cast<int>(ceil_div(source.count, 4 * Threads));
#pragma unroll 2
  for (int round = 0; round < rounds; ++round) {
    std::uint32_t keys[4];
    int indices[4];
    const int n = source.load(4 * (round * Threads + static_cast<int>(threadIdx.x)), keys, indices);
    for (int j = 0; j < 4; ++j) {
      // 64-bit shift: `known` is 0 for the first digit.
      const bool counts = j < n && (static_cast<std::uint64_t>(keys[j]) >> (32 - known)) == prefix;
      const std::uint32_t digit = counts ? (keys[j] >> shift) & mask : ~0u;
      int same = 0;
      __match_all_sync(kAllLanes, digit, &same);
      if (same != 0) {  // a plateau: one addition for the warp instead of 32 that collide
        if (threadIdx.x % kWarp == 0 && counts) {
          atomicAdd(&shared.histogram[slot_of<Threads>(static_cast<int>(digit))], kWarp);
        }
      } else if (counts) {
        atomicAdd(&shared.histogram[slot_of<Threads>(static_cast<int>(digit))], 1);
      }
    }
  }
  __syncthreads();
}

// The digit that holds the `wanted`-th largest element: sets digit, the elements above and inside.
template <int Threads, int Capacity>
__device__ void pick_digit(Shared<Threads, Capacity>& shared, int bits, int wanted) {
  const int bins = 1 << bits;
  const int each = bins / Threads > 0 ? bins / Threads : 1;
  const int last = bins - 1 - static_cast<int>(threadIdx.x) * each;  // from the highest bin down
  unsigned sum = 0;
  for (int j = 0; j < each; ++j)
    sum += last - j >= 0 ? shared.histogram[slot_of<Threads>(last - j)] : 0;
  unsigned total = 0;
  unsigned above = round_scan<Threads>(sum, shared.totals, 0, total);
  const auto rank = static_cast<unsigned>(wanted);
  if (above < rank && rank <= above + sum) {
    for (int j = 0; j < each; ++j) {
      const unsigned inside = shared.histogram[slot_of<Threads>(last - j)];
      if (rank <= above + inside) {
        shared.digit = last - j;
        shared.above = static_cast<int>(above);
        shared.inside = static_cast<int>(inside);
        break;
      }
      above += inside;
    }
  }
  __syncthreads();
}

// Copies every element with (key >> shift) >= prefix to the list, keeping their order.
template <int Threads, int Capacity>
__device__ int collect(Shared<Threads, Capacity>& shared, const RowSource& source,
                       std::uint32_t prefix, int shift) {
  const int rounds = static_cast<int>(ceil_div(source.count, 4 * Threads));
  unsigned filled = 0;
  for (int round = 0; round < rounds; ++round) {
    std::uint32_t keys[4];
    int indices[4];
    const int n = source.load(4 * (round * Threads + static_cast<int>(threadIdx.x)), keys, indices);
    unsigned mine = 0;
    for (int j = 0; j < 4; ++j) mine += j < n && (keys[j] >> shift) >= prefix ? 1 : 0;
    unsigned total = 0;
    unsigned at = filled + round_scan<Threads>(mine, shared.totals, round, total);
    for (int j = 0; j < 4; ++j) {
      if (j >= n || (keys[j] >> shift) < prefix) continue;
      shared.keys[at] = keys[j];
      shared.indices[at++] = indices[j];
    }
    filled += total;
  }
  __syncthreads();
  return static_cast<int>(filled);
}

// Writes the elements above the threshold class and the first `equals` of those inside it.
template <int Threads, int Capacity, typename Source>
__device__ void emit(Shared<Threads, Capacity>& shared, const Source& source, std::uint32_t prefix,
                     int shift, int equals, std::int32_t* out) {
  const int rounds = static_cast<int>(ceil_div(source.count, 4 * Threads));
  unsigned above_before = 0, inside_before = 0;
  for (int round = 0; round < rounds; ++round) {
    std::uint32_t keys[4];
    int indices[4];
    const int n = source.load(4 * (round * Threads + static_cast<int>(threadIdx.x)), keys, indices);
    unsigned above = 0, inside = 0;
    for (int j = 0; j < 4; ++j) {
      above += j < n && (keys[j] >> shift) > prefix ? 1 : 0;
      inside += j < n && (keys[j] >> shift) == prefix ? 1 : 0;
    }
    // At most 4 * 1024 of each a round: both counts fit in one word.
    unsigned total = 0;
    const unsigned before = round_scan<Threads>(inside << 16 | above, shared.totals, round, total);
    above = above_before + (before & 0xffffu);
    inside = inside_before + (before >> 16);
    for (int j = 0; j < 4; ++j) {
      const std::uint32_t top = keys[j] >> shift;
      if (j >= n || top < prefix) continue;
      if (top > prefix) {
        out[above++ + min(inside, static_cast<unsigned>(equals))] = indices[j];
      } else {
        if (inside < static_cast<unsigned>(equals)) out[above + inside] = indices[j];
        ++inside;
      }
    }
    above_before += total & 0xffffu;
    inside_before += total >> 16;
  }
}

template <int Threads, int Capacity>
__global__ void __launch_bounds__(Threads) radix_kernel(TopKParams p) {
  extern __shared__ char memory[];
  auto& shared = *reinterpret_cast<Shared<Threads, Capacity>*>(memory);
  const std::int64_t row = blockIdx.x;
  std::int32_t* out = p.sets + row * p.sets_stride;
  const int k = static_cast<int>(p.k);
  const RowSource source{p.scores + row * p.stride, candidates_of(p, row)};
  if (source.count <= k) {
    write_all(out, source.count, k);
    return;
  }
  ListSource list{shared.keys, shared.indices, 0};
  std::uint32_t prefix = 0;
  int known = 0, wanted = k;
  for (int bits : {12, 10, 10}) {
    if (list.count > 0) {
      count_digits(shared, list, prefix, known, bits);
    } else {
      count_digits(shared, source, prefix, known, bits);
    }
    pick_digit(shared, bits, wanted);
    wanted -= shared.above;
    const int inside = shared.inside;
    prefix = prefix << bits | static_cast<std::uint32_t>(shared.digit);
    known += bits;
    __syncthreads();  // everyone has read the pick before the next one writes it
    if (list.count == 0 && k - wanted + inside <= Capacity) {
      list.count = collect(shared, source, prefix, 32 - known);
    }
    if (inside == wanted) break;  // the whole class is taken
  }
  if (list.count > 0) {
    emit(shared, list, prefix, 32 - known, wanted, out);
  } else {
    emit(shared, source, prefix, 32 - known, wanted, out);
  }
}

template <int Threads, int Capacity>
cudaError_t launch(const TopKParams& params, cudaStream_t stream) {
  constexpr std::size_t kBytes = sizeof(Shared<Threads, Capacity>);
  const auto kernel = radix_kernel<Threads, Capacity>;
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes));
  if (status != cudaSuccess) return status;
  kernel<<<static_cast<unsigned>(params.rows), Threads, kBytes, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace

cudaError_t top_k_radix(const TopKParams& params, cudaStream_t stream) {
  if (params.longest <= kMostTwice) return launch<256, 1024>(params, stream);
  return launch<1024, 8192>(params, stream);
}

}  // namespace indexcache::kernels
