// SPDX-License-Identifier: Apache-2.0
#include "kernels/architecture.h"
#include "kernels/common.cuh"
#include "kernels/neighbors.h"

namespace indexcache::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kCounterBytes = kMostNeighborColumns * static_cast<int>(sizeof(unsigned long long));

// Positions [first, first + 32 * words), one bit each, in shared memory.
struct Window {
  unsigned* bits;
  int first;
  int words;

  __device__ bool holds(int position) const {
    return position >= first && position - first < 32 * words;
  }
};

// Marks a set; every thread returns how many bits it was the first to mark.
__device__ unsigned mark(const NeighborParams& p, const std::int32_t* set, const Window& window) {
  unsigned added = 0;
  for (int i = static_cast<int>(threadIdx.x); i < p.k; i += kThreads) {
    if (!window.holds(set[i])) continue;
    const int place = set[i] - window.first;
    const unsigned bit = 1u << (place % 32);
    added += (atomicOr(&window.bits[place / 32], bit) & bit) == 0 ? 1 : 0;
  }
  return added;
}

// How many marked positions each thread found in a set.
__device__ unsigned find(const NeighborParams& p, const std::int32_t* set, const Window& window) {
  unsigned found = 0;
  for (int i = static_cast<int>(threadIdx.x); i < p.k; i += kThreads) {
    if (!window.holds(set[i])) continue;
    const int place = set[i] - window.first;
    found += window.bits[place / 32] >> (place % 32) & 1u;
  }
  return found;
}

__device__ void add(unsigned long long& counter, unsigned count) {
  const unsigned sum = __reduce_add_sync(kAllLanes, count);
  if (threadIdx.x % kWarp == 0) atomicAdd(&counter, static_cast<unsigned long long>(sum));
}

// The largest group whose last row is row `index` of its segment; 0 if none ends there.
__device__ int largest_ending(const NeighborParams& p, int index) {
  int largest = 0;
  for (int g = 0; g < p.group_count; ++g) {
    if ((index + 1) % p.groups[g] == 0) largest = max(largest, p.groups[g]);
  }
  return largest;
}

// Adds what row `index` of a segment has in a window; `set` is its set.
__device__ void count_row(const NeighborParams& p, const std::int32_t* set, int index,
                          const Window& window, unsigned long long* counters) {
  for (int w = static_cast<int>(threadIdx.x); w < window.words; w += kThreads) window.bits[w] = 0;
  __syncthreads();
  unsigned united = mark(p, set, window);
  __syncthreads();
  for (int d = 0; d < p.distance_count; ++d) {
    if (p.distances[d] > index) continue;
    add(counters[d], find(p, set - p.distances[d] * p.sets_stride, window));
  }
  __syncthreads();  // the lookups see one set
  const int largest = largest_ending(p, index);
  for (int size = 1; size <= largest; ++size) {
    if (size > 1) {
      __syncthreads();  // every bit of the smaller union is marked by one of its own sets
      united += mark(p, set - (size - 1) * p.sets_stride, window);
    }
    for (int g = 0; g < p.group_count; ++g) {
      if (p.groups[g] != size || (index + 1) % size != 0) continue;
      add(counters[p.distance_count + g], united);
    }
  }
  __syncthreads();
}

__device__ void flush(const NeighborParams& p, int bucket, unsigned long long* counters) {
  const int columns = p.distance_count + p.group_count;
  const int column = static_cast<int>(threadIdx.x);
  if (column < columns) {
    if (counters[column] != 0) {
      atomicAdd(&p.counts[std::int64_t{bucket} * columns + column], counters[column]);
    }
    counters[column] = 0;
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) neighbors_kernel(NeighborParams p, int words) {
  extern __shared__ unsigned long long memory[];
  unsigned long long* counters = memory;
  auto* bits = reinterpret_cast<unsigned*>(memory + kMostNeighborColumns);
  if (threadIdx.x < kMostNeighborColumns) counters[threadIdx.x] = 0;
  const KeySegment segment = p.segments[blockIdx.y];
  const auto each = static_cast<int>(ceil_div(segment.rows, gridDim.x));
  const int first_index = each * static_cast<int>(blockIdx.x);
  const int last_index = min(first_index + each, segment.rows);
  int bucket = -1;
  for (int index = first_index; index < last_index; ++index) {
    const std::int64_t row = std::int64_t{segment.first_row} + index;
    const int position = p.places[row].position;
    const int own = bucket_of(p.bucket_ends, position);
    if (own != bucket && bucket >= 0) flush(p, bucket, counters);
    bucket = own;
    for (int first = 0; first <= position; first += 32 * words) {
      const int used = min(words, static_cast<int>(ceil_div(position + 1 - first, 32)));
      count_row(p, p.sets + row * p.sets_stride, index, {bits, first, used}, counters);
    }
  }
  if (bucket >= 0) flush(p, bucket, counters);
}

bool sound(const NeighborParams& p) {
  if (p.distance_count < 0 || p.group_count < 0) return false;
  if (p.distance_count + p.group_count > kMostNeighborColumns) return false;
  for (int d = 0; d < p.distance_count; ++d) {
    if (p.distances[d] < 1) return false;
  }
  for (int g = 0; g < p.group_count; ++g) {
    if (p.groups[g] < 1) return false;
  }
  return true;
}

}  // namespace

cudaError_t neighbors(const NeighborParams& params, cudaStream_t stream) {
  if (!sound(params)) return cudaErrorInvalidValue;
  if (params.segment_count == 0 || params.most_rows == 0) return cudaSuccess;
  const auto needed = static_cast<int>(ceil_div(params.longest, 32));
  const int room = (most_shared_bytes() - kCounterBytes) / static_cast<int>(sizeof(unsigned));
  const int words = needed < room ? needed : room;
  const int bytes = kCounterBytes + words * static_cast<int>(sizeof(unsigned));
  const cudaError_t status =
      cudaFuncSetAttribute(neighbors_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status != cudaSuccess) return status;
  const std::int64_t wanted = ceil_div(32ll * multiprocessors(), params.segment_count);
  const std::int64_t blocks = params.most_rows < wanted ? params.most_rows : wanted;
  neighbors_kernel<<<dim3(static_cast<unsigned>(blocks),
                          static_cast<unsigned>(params.segment_count)),
                     kThreads, static_cast<std::size_t>(bytes), stream>>>(params, words);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
