// SPDX-License-Identifier: Apache-2.0
// What the kernels of top-k share: keys that order as scores do, the choice of a threshold among
// the entries that a block holds, and ascending output.
//
// `Entries` is anything with each(f), which every thread of the block calls and which calls
// f(present, key, position) equally often in all lanes of a warp.
#pragma once

#include "kernels/common.cuh"
#include "kernels/top_k.h"

namespace indexcache::kernels {

constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;
constexpr int kLastPosition = 0x7fffffff;  // of any row

__device__ inline int lane_of() {
  return static_cast<int>(threadIdx.x) % kWarp;
}
__device__ inline int warp_of() {
  return static_cast<int>(threadIdx.x) / kWarp;
}

__device__ inline int candidates_of(const TopKParams& p, std::int64_t row) {
  return p.places[row].candidates;
}

// An unsigned integer that orders as the float does.
__device__ inline std::uint32_t sortable(float score) {
  const std::uint32_t bits = __float_as_uint(score + 0.0f);  // -0 becomes +0
  return bits ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000u);
}

__device__ inline float score_of(std::uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key);
}

// All positions of a row that has at most k candidates.
__device__ inline void write_all(std::int32_t* out, int candidates, int k) {
  for (int i = static_cast<int>(threadIdx.x); i < k; i += static_cast<int>(blockDim.x)) {
    out[i] = i < candidates ? i : -1;
  }
}

// What a block needs to choose among entries; `Words` is at least kBins.
template <int Threads, int Words>
struct Chooser {
  static constexpr int kThreads = Threads;
  static constexpr int kWords = Words;
  alignas(16) std::uint32_t words[Words];  // histogram of a digit, or bitmap of positions
  unsigned totals[kWarp];
  std::uint32_t least, most;
  unsigned digit, above, inside;
};

__device__ inline unsigned warp_scan(unsigned value) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const unsigned other = __shfl_up_sync(kAllLanes, value, offset);
    if (lane_of() >= offset) value += other;
  }
  return value;
}

// Exclusive sum over the block in thread order. One barrier; another one has to pass before the
// next call.
template <int Threads>
__device__ unsigned block_scan(unsigned value, unsigned* totals, unsigned& total) {
  constexpr int kWarps = Threads / kWarp;
  const unsigned inclusive = warp_scan(value);
  if (lane_of() == kWarp - 1) totals[warp_of()] = inclusive;
  __syncthreads();
  const unsigned of_warps = warp_scan(lane_of() < kWarps ? totals[lane_of()] : 0);
  total = __shfl_sync(kAllLanes, of_warps, kWarp - 1);
  const unsigned before = __shfl_sync(kAllLanes, of_warps, (warp_of() + kWarp - 1) % kWarp);
  return inclusive - value + (warp_of() == 0 ? 0 : before);
}

// Counts one digit per lane. The digit of the first lane that counts is added once for the warp: on
// a plateau of equal scores nothing collides.
__device__ inline void count_digit(std::uint32_t* bins, bool counts, std::uint32_t digit) {
  const unsigned voters = __ballot_sync(kAllLanes, counts);
  if (voters == 0) return;
  const int leader = __ffs(static_cast<int>(voters)) - 1;
  const std::uint32_t common = __shfl_sync(kAllLanes, digit, leader);
  const unsigned same = __ballot_sync(kAllLanes, counts && digit == common);
  if (lane_of() == leader) {
    atomicAdd(&bins[common], static_cast<unsigned>(__popc(same)));
  } else if (counts && digit != common) {
    atomicAdd(&bins[digit], 1u);
  }
}

// The bin that holds the `wanted`-th largest entry: sets digit, the entries above and inside.
template <typename Chooser>
__device__ void pick_digit(Chooser& c, unsigned wanted) {
  constexpr int kThreads = Chooser::kThreads;
  constexpr int kPairs = kBins / kThreads / 2;
  static_assert(kPairs * 2 * kThreads == kBins, "bins are read in pairs");
  const int last = kBins - 1 - static_cast<int>(threadIdx.x) * 2 * kPairs;  // from the highest down
  unsigned bins[2 * kPairs];
  unsigned sum = 0;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const uint2 pair = *reinterpret_cast<const uint2*>(&c.words[last - 2 * j - 1]);
    bins[2 * j] = pair.y, bins[2 * j + 1] = pair.x;
    sum += pair.x + pair.y;
  }
  unsigned total = 0;
  unsigned above = block_scan<kThreads>(sum, c.totals, total);
  if (above < wanted && wanted <= above + sum) {
    bool found = false;
#pragma unroll
    for (int j = 0; j < 2 * kPairs; ++j) {
      if (!found && wanted <= above + bins[j]) {
        found = true;
        c.digit = static_cast<unsigned>(last - j);
        c.above = above;
        c.inside = bins[j];
      }
      above += bins[j];
    }
  }
  __syncthreads();
}

// A lower bound of values, and how many of those that have it as their highest digits are wanted.
struct Bound {
  std::uint32_t low;
  unsigned wanted;
  bool whole;  // everything from `low` up is wanted
};

// The value of the `wanted`-th largest entry, by as many digits of the range of values as it takes.
// Stops early when at most `slack` entries too many are at or above the bound.
template <typename Chooser, typename Entries, typename Value>
__device__ Bound narrow(Chooser& c, const Entries& entries, const Value& value, unsigned wanted,
                        unsigned slack) {
  __syncthreads();  // entries are complete, and nobody reads the last range any more
  if (threadIdx.x == 0) c.least = ~0u, c.most = 0;
  __syncthreads();
  std::uint32_t least = ~0u, most = 0;
  entries.each([&](bool present, std::uint32_t key, int position) {
    if (!present || !value.counts(key)) return;
    least = min(least, value(key, position));
    most = max(most, value(key, position));
  });
  least = __reduce_min_sync(kAllLanes, least);
  most = __reduce_max_sync(kAllLanes, most);
  if (lane_of() == 0) atomicMin(&c.least, least), atomicMax(&c.most, most);
  __syncthreads();
  std::uint32_t low = c.least, high = c.most;
  while (low < high) {
    const int shift = max(0, 32 - __clz(static_cast<int>(high - low)) - kDigitBits);
    for (int b = static_cast<int>(threadIdx.x); b < kBins; b += Chooser::kThreads) c.words[b] = 0;
    __syncthreads();
    entries.each([&](bool present, std::uint32_t key, int position) {
      const std::uint32_t v = value(key, position);
      count_digit(c.words, present && value.counts(key) && v >= low && v <= high,
                  (v - low) >> shift);
    });
    __syncthreads();
    pick_digit(c, wanted);
    wanted -= c.above;
    low += c.digit << shift;
    high = min(high, low + ((1u << shift) - 1));
    if (c.inside - wanted <= slack) return {low, wanted, c.inside == wanted};
  }
  return {low, wanted, false};
}

struct ByScore {
  __device__ bool counts(std::uint32_t) const { return true; }
  __device__ std::uint32_t operator()(std::uint32_t key, int) const { return key; }
};

// The lowest position first, among entries of one score.
struct ByPosition {
  std::uint32_t key;
  __device__ bool counts(std::uint32_t other) const { return other == key; }
  __device__ std::uint32_t operator()(std::uint32_t, int position) const {
    return ~static_cast<std::uint32_t>(position);
  }
};

// The last entry of a selection in the total order.
struct Threshold {
  std::uint32_t key;
  int position;
  __device__ bool takes(std::uint32_t other, int at) const {
    return other > key || (other == key && at <= position);
  }
};

// Takes exactly k of the entries, of which there are at least k.
template <typename Chooser, typename Entries>
__device__ Threshold choose(Chooser& c, const Entries& entries, int k) {
  const Bound score = narrow(c, entries, ByScore{}, static_cast<unsigned>(k), 0);
  if (score.whole) return {score.low, kLastPosition};
  const Bound tie = narrow(c, entries, ByPosition{score.low}, score.wanted, 0);
  return {score.low, static_cast<int>(~tie.low)};
}

// Writes first + i for every bit i, ascending; returns how many. A warp takes consecutive words and
// a lane every 32nd of them, so that a run of dense words is shared by the lanes.
template <typename Chooser>
__device__ unsigned write_bits(Chooser& c, int words, int first, std::int32_t* out) {
  const int rounds = static_cast<int>(ceil_div(words, Chooser::kThreads));
  const int own = warp_of() * rounds * kWarp + lane_of();
  unsigned mine = 0;
  for (int r = 0; r < rounds; ++r) {
    const int w = own + r * kWarp;
    mine += w < words ? static_cast<unsigned>(__popc(c.words[w])) : 0;
  }
  unsigned total = 0;
  const unsigned before = block_scan<Chooser::kThreads>(mine, c.totals, total);
  unsigned of_round = __shfl_sync(kAllLanes, before, 0);
  for (int r = 0; r < rounds; ++r) {
    const int w = own + r * kWarp;
    std::uint32_t bits = w < words ? c.words[w] : 0;
    if (__any_sync(kAllLanes, bits != 0) == 0) continue;
    const auto count = static_cast<unsigned>(__popc(bits));
    const unsigned inclusive = warp_scan(count);
    unsigned at = of_round + inclusive - count;
    of_round += __shfl_sync(kAllLanes, inclusive, kWarp - 1);
    for (; bits != 0; bits &= bits - 1) {
      out[at++] = first + w * 32 + __ffs(static_cast<int>(bits)) - 1;
    }
  }
  return total;
}

// Writes the positions that the threshold takes, ascending, by bitmaps of as many positions at a
// time as there are bits.
template <typename Chooser, typename Entries>
__device__ void write_chosen(Chooser& c, const Entries& entries, const Threshold& threshold,
                             int candidates, std::int32_t* out) {
  constexpr int kWindow = 32 * Chooser::kWords;
  for (int first = 0; first < candidates; first += kWindow) {
    const int words = static_cast<int>(ceil_div(min(kWindow, candidates - first), 32));
    for (int w = static_cast<int>(threadIdx.x); w < words; w += Chooser::kThreads) c.words[w] = 0;
    __syncthreads();
    entries.each([&](bool present, std::uint32_t key, int position) {
      const int at = position - first;
      if (!present || at < 0 || at >= kWindow || !threshold.takes(key, position)) return;
      atomicOr(&c.words[at / 32], 1u << (at % 32));
    });
    __syncthreads();
    out += write_bits(c, words, first, out);
    __syncthreads();
  }
}

}  // namespace indexcache::kernels
