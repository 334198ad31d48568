// SPDX-License-Identifier: Apache-2.0
// What the kernels of top-k share: keys that order as scores do, the choice of a threshold among
// the entries that a block holds, and ascending output.
//
// `Entries` is anything with each(f), which every thread of the block calls and which calls
// f(present, key, position) equally often in all lanes of a warp.
#pragma once

#include "kernels/scan.cuh"
#include "kernels/top_k.h"

namespace indexcache::kernels {

constexpr int kLastPosition = 0x7fffffff;  // of any row

// Of a power of two.
__host__ __device__ constexpr int bits_of(int power) {
  return power == 1 ? 0 : 1 + bits_of(power / 2);
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

// What a block needs to choose among entries. A digit has one bin per thread.
template <int Threads>
struct Chooser {
  static constexpr int kThreads = Threads;
  struct Bin {
    unsigned digit, above, inside;
  };
  std::uint32_t bins[Threads];
  unsigned totals[kWarp];
  std::uint32_t least, most;
  Bin first, last;
  int tie;
};

// A search for the values of two ranks, from the largest value on. Both are in [low, high], where
// there are `inside` values in all; ranks count from the largest of these.
struct Search {
  std::uint32_t low, high;
  unsigned first, last;   // ranks, the same for a search of one value
  unsigned inside = ~0u;  // not known before the first step
  bool apart = false;     // the last step saw the ranks in different bins

  // Everything from `low` up belongs to rank `last`.
  __device__ bool whole() const { return inside == last; }
};

template <typename Chooser, typename Entries, typename Value>
__device__ Search begin_search(Chooser& c, const Entries& entries, const Value& value,
                               unsigned first, unsigned last) {
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
  return {c.least, c.most, first, last};
}

// Leaves the bins of one more digit that hold the ranks, and what is between them. Bounds move by
// differences: the largest value may be the largest integer.
template <typename Chooser, typename Entries, typename Value>
__device__ void narrow(Chooser& c, const Entries& entries, const Value& value, Search& s) {
  constexpr int kThreads = Chooser::kThreads;
  constexpr int kBits = bits_of(kThreads);
  const std::uint32_t range = s.high - s.low;
  const int shift = max(0, 32 - __clz(static_cast<int>(range)) - kBits);
  c.bins[threadIdx.x] = 0;
  __syncthreads();
  entries.each([&](bool present, std::uint32_t key, int position) {
    const std::uint32_t beyond = value(key, position) - s.low;
    if (present && value.counts(key) && beyond <= range) atomicAdd(&c.bins[beyond >> shift], 1u);
  });
  __syncthreads();
  const unsigned digit = kThreads - 1 - threadIdx.x;  // from the highest down
  const unsigned inside = c.bins[digit];
  unsigned total = 0;
  const unsigned above = block_scan<kThreads>(inside, c.totals, total);
  if (above < s.first && s.first <= above + inside) c.first = {digit, above, inside};
  if (above < s.last && s.last <= above + inside) c.last = {digit, above, inside};
  __syncthreads();
  const auto first = c.first, last = c.last;
  s.high = s.low + min(range, (first.digit << shift) + ((1u << shift) - 1));
  s.low += last.digit << shift;
  s.first -= first.above;
  s.last -= first.above;
  s.inside = last.above + last.inside - first.above;
  s.apart = first.digit != last.digit;
}

// Narrows the search of one value as far as it takes.
template <typename Chooser, typename Entries, typename Value>
__device__ void finish(Chooser& c, const Entries& entries, const Value& value, Search& s) {
  while (s.low < s.high && !s.whole()) narrow(c, entries, value, s);
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
    return static_cast<std::uint32_t>(kLastPosition - position);
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

// Takes exactly as many entries as the search by score wants.
template <typename Chooser, typename Entries>
__device__ Threshold choose(Chooser& c, const Entries& entries, Search score) {
  finish(c, entries, ByScore{}, score);
  if (score.whole()) return {score.low, kLastPosition};
  const ByPosition tied{score.low};
  Search tie = begin_search(c, entries, tied, score.last, score.last);
  finish(c, entries, tied, tie);
  return {score.low, kLastPosition - static_cast<int>(tie.low)};
}

// The same for `wanted` entries of any scores; there are at least as many.
template <typename Chooser, typename Entries>
__device__ Threshold choose(Chooser& c, const Entries& entries, unsigned wanted) {
  return choose(c, entries, begin_search(c, entries, ByScore{}, wanted, wanted));
}

// Calls f(w, bits, before) for word(w) of every w < words, where `before` bits are in lower words.
// Words without bits may be left out. A warp takes consecutive words and a lane every 32nd of them,
// so that a run of dense words is shared by the lanes. Returns how many bits there are.
template <typename Chooser, typename Word, typename F>
__device__ unsigned each_word(Chooser& c, int words, const Word& word, const F& f) {
  const int rounds = static_cast<int>(ceil_div(words, Chooser::kThreads));
  const int own = warp_of() * rounds * kWarp + lane_of();
  unsigned mine = 0;
  for (int r = 0; r < rounds; ++r) {
    const int w = own + r * kWarp;
    mine += w < words ? static_cast<unsigned>(__popc(word(w))) : 0;
  }
  unsigned total = 0;
  const unsigned before = block_scan<Chooser::kThreads>(mine, c.totals, total);
  unsigned of_round = __shfl_sync(kAllLanes, before, 0);
  for (int r = 0; r < rounds; ++r) {
    const int w = own + r * kWarp;
    const std::uint32_t bits = w < words ? word(w) : 0;
    if (__any_sync(kAllLanes, bits != 0) == 0) continue;
    const auto count = static_cast<unsigned>(__popc(bits));
    const unsigned inclusive = warp_scan(count);
    f(w, bits, of_round + inclusive - count);
    of_round += __shfl_sync(kAllLanes, inclusive, kWarp - 1);
  }
  return total;
}

// Writes first + i for every bit i, ascending; returns how many.
template <typename Chooser, typename Word>
__device__ unsigned write_bits(Chooser& c, int words, const Word& word, int first,
                               std::int32_t* out) {
  return each_word(c, words, word, [&](int w, std::uint32_t bits, unsigned before) {
    std::int32_t* to = out + before;
    for (; bits != 0; bits &= bits - 1) *to++ = first + w * 32 + __ffs(static_cast<int>(bits)) - 1;
  });
}

// Writes the positions that the threshold takes, ascending, by bitmaps of as many positions at a
// time as `bits` has.
template <typename Chooser, typename Entries>
__device__ void write_chosen(Chooser& c, const Entries& entries, const Threshold& threshold,
                             int candidates, std::uint32_t* bits, int most_words,
                             std::int32_t* out) {
  const int window = 32 * most_words;
  for (int first = 0; first < candidates; first += window) {
    const int words = static_cast<int>(ceil_div(min(window, candidates - first), 32));
    for (int w = static_cast<int>(threadIdx.x); w < words; w += Chooser::kThreads) bits[w] = 0;
    __syncthreads();
    entries.each([&](bool present, std::uint32_t key, int position) {
      const int at = position - first;
      if (!present || at < 0 || at >= window || !threshold.takes(key, position)) return;
      atomicOr(&bits[at / 32], 1u << (at % 32));
    });
    __syncthreads();
    out += write_bits(
        c, words, [&](int w) { return bits[w]; }, first, out);
    __syncthreads();
  }
}

}  // namespace indexcache::kernels
