// SPDX-License-Identifier: Apache-2.0
// Top-k that reads a row once.
//
// Warps read batches of the row on their own and append what passes a gate to a list in shared
// memory. The gate starts as a guess from a sample of the row, low enough that more than k elements
// pass. Whoever finds no room waits for the block, which then cuts the list to its best; the last
// of them is the new gate, and it is exact: what fails it cannot be among the k best of the row. So
// a guess that is too low costs only cuts. If fewer than k elements pass, the guess was too high,
// and the row is read again with an open gate. A class of equal scores at the gate does not fill
// the list: after the last position that a cut kept, only higher scores pass.
//
// Here the list takes all that passes, and a team of blocks may share a row, each with a list of
// its own; the first one collects the lists. top_k_marked.cuh keeps the best out of the list.
#pragma once

#include "kernels/top_k.cuh"

namespace indexcache::kernels {

constexpr int kVectors = 4;                   // of four scores, of a lane in a batch
constexpr int kBatch = 4 * kVectors * kWarp;  // elements
constexpr int kRunVectors = 4;                // of a run of the sample: 64 bytes
constexpr int kSampled = 64;                  // with more candidates per thread, a larger sample
constexpr float kDeviations = 4.0f;           // how far the sample may err

// For k up to `Most`: the rest of the list takes what passes and is not chosen. Rows of up to
// `Marked` candidates have a bit for each of them.
template <int Threads, int Capacity, int Most, int Marked>
struct StreamShared {
  static constexpr int kThreads = Threads;
  static constexpr int kWarps = Threads / kWarp;
  static constexpr int kCapacity = Capacity;
  static constexpr int kMost = Most;
  static constexpr int kMarked = Marked;
  static constexpr int kWords = Marked / 32;
  static_assert(Most + kBatch <= Capacity, "a cut makes room for a batch");
  static_assert(Marked % kBatch == 0 && Marked <= 64 * Capacity, "top_k_marked.cuh");
  uint2 list[Capacity];                     // bits of the score, position; in no particular order
  alignas(16) std::uint32_t words[kWords];  // a bit per position
  unsigned filled;                          // entries of the list, if nobody was refused
  unsigned refused;                         // the least number of entries at which somebody was
  unsigned marked;                          // elements that pass without being in the list
  Chooser<Threads> chooser;
};

// Six, three and one block of a multiprocessor have 227 KB.
using ManyRows = StreamShared<256, 3712, 2048, 49152>;
using LongRows = StreamShared<512, 7168, 3584, 131072>;
using LargeSets = StreamShared<1024, 2 * kMostStreamed, kMostStreamed, 131072>;

// A team of one. Others: top_k_sm90.cu.
struct SingleBlock {
  __device__ int rank() const { return 0; }
  __device__ int size() const { return 1; }
  __device__ void sync() const {}
  template <typename T>
  __device__ const T* of(const T* shared, int) const {
    return shared;
  }
};

struct Row {
  const float* scores;
  int candidates;
  bool nan_is_least = false;  // else NaN passes no gate

  __device__ float score(float x) const { return nan_is_least ? fmaxf(x, -INFINITY) : x; }
};

// Scores at or above `at` pass, after `position` those at or above `above`. Where elements are
// marked, those above `sure` are, and they do not pass.
struct Gate {
  float at, above;
  int position;
  float sure;
  __device__ float least_at(int place) const { return place > position ? above : at; }
};

__device__ inline Gate open_gate() {
  return {-INFINITY, -INFINITY, kLastPosition, INFINITY};
}
__device__ inline Gate gate_of(const Threshold& t, float sure) {
  return {score_of(t.key), score_of(t.key + 1), t.position, sure};
}

template <int Threads>
struct ListEntries {
  const uint2* list;
  int count;
  template <typename F>
  __device__ void each(const F& f) const {
    const int rounds = static_cast<int>(ceil_div(count, Threads));
    for (int r = 0; r < rounds; ++r) {
      const int i = r * Threads + static_cast<int>(threadIdx.x);
      const bool present = i < count;
      const uint2 entry = present ? list[i] : uint2{};
      f(present, sortable(__uint_as_float(entry.x)), static_cast<int>(entry.y));
    }
  }
};

template <int Threads>
struct SampleEntries {
  float scores[8];
  int count;  // 4 or 8 of each thread
  template <typename F>
  __device__ void each(const F& f) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < count) f(true, sortable(scores[i]), 0);
    }
  }
};

// Runs of the row at equal distances.
template <int Threads>
__device__ SampleEntries<Threads> sample(const Row& row) {
  SampleEntries<Threads> entries{};
  const int halves = row.candidates > kSampled * Threads ? 2 : 1;
  entries.count = 4 * halves;
  const int vectors = row.candidates / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (half >= halves) break;
    const unsigned run = (half * Threads + threadIdx.x) / kRunVectors;
    // run / runs of the row; the constant divisor is that of the larger sample.
    const std::uint64_t scaled = std::uint64_t{run * 2u / halves} * static_cast<unsigned>(vectors);
    const auto start = static_cast<int>(scaled / (2 * Threads / kRunVectors)) / kRunVectors;
    const int vector = start * kRunVectors + static_cast<int>(threadIdx.x) % kRunVectors;
    const float4 four = *reinterpret_cast<const float4*>(row.scores + 4 * min(vector, vectors - 1));
    entries.scores[4 * half] = four.x, entries.scores[4 * half + 1] = four.y;
    entries.scores[4 * half + 2] = four.z, entries.scores[4 * half + 3] = four.w;
  }
  return entries;
}

// What a sample says. Where a row is a `plateau`, the k-th score is probably `sure` itself.
struct Guess {
  Gate gate;
  bool plateau;
};

// Of the k best, the sample should hold x, and varies by the root of x: at least k elements should
// pass, and fewer than k be above `sure`. Between them are about 2 kDeviations / sqrt(x) times k.
template <typename Chooser>
__device__ Guess guess(Chooser& chooser, const Row& row, int k) {
  constexpr int kThreads = Chooser::kThreads;
  const SampleEntries<kThreads> entries = sample<kThreads>(row);
  const auto size = static_cast<unsigned>(entries.count * kThreads);
  const float x =
      static_cast<float>(k) * static_cast<float>(size) / static_cast<float>(row.candidates);
  const float half = kDeviations / 2;
  const float root = sqrtf(half * half + x);
  const auto few = static_cast<unsigned>((root - half) * (root - half));
  const auto many = static_cast<unsigned>((root + half) * (root + half)) + 1;
  Search s = begin_search(chooser, entries, ByScore{}, max(few, 1u), min(many, size));
  for (int step = 0; s.low < s.high && (step < 2 || !s.apart); ++step) {
    narrow(chooser, entries, ByScore{}, s);
  }
  Guess guess{open_gate(), s.low == s.high};
  if (many < size) guess.gate.at = score_of(s.low);
  if (few > 0 || guess.plateau) guess.gate.sure = score_of(s.high);
  return guess;
}

// The four scores from element i on; NaN, which passes no gate, where the row has ended.
__device__ inline float4 load_tail(const Row& row, int i) {
  float4 four = make_float4(NAN, NAN, NAN, NAN);
  if (i < row.candidates) four.x = row.score(row.scores[i]);
  if (i + 1 < row.candidates) four.y = row.score(row.scores[i + 1]);
  if (i + 2 < row.candidates) four.z = row.score(row.scores[i + 2]);
  if (i + 3 < row.candidates) four.w = row.score(row.scores[i + 3]);
  return four;
}

__device__ inline void put(float (&scores)[4 * kVectors], int v, const float4& four) {
  scores[4 * v] = four.x, scores[4 * v + 1] = four.y;
  scores[4 * v + 2] = four.z, scores[4 * v + 3] = four.w;
}

// Elements own + 128 v + [0, 4) of a batch that begins at `first`.
__device__ inline void load_batch(float (&scores)[4 * kVectors], const Row& row, int first,
                                  int own) {
  if (first + kBatch <= row.candidates) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      put(scores, v, __ldcs(reinterpret_cast<const float4*>(row.scores + own + 4 * kWarp * v)));
    }
    if (row.nan_is_least) {
#pragma unroll
      for (float& score : scores) score = row.score(score);
    }
  } else {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) put(scores, v, load_tail(row, own + 4 * kWarp * v));
  }
}

__device__ inline std::uint16_t* marks_of(void* words) {
  return static_cast<std::uint16_t*>(words);
}

// Room for `total` entries of this warp: their first index, which is too high if there is none.
template <typename Shared>
__device__ unsigned reserve(Shared& shared, unsigned total) {
  unsigned base = 0;
  if (lane_of() == 0) {
    base = atomicAdd(&shared.filled, total);
    // The first refusal leaves no room for anybody later, so entries below it have no gaps.
    if (base + total > Shared::kCapacity) atomicMin(&shared.refused, base);
  }
  return __shfl_sync(kAllLanes, base, 0);
}

// Appends what passes of a batch, or nothing if there is no room (false). With `Marks`, marks what
// is above `sure`: a lane has 16 bits of a batch, bit 4 v + j for its element 128 v + j.
template <bool Marks, typename Shared>
__device__ bool take_batch(Shared& shared, const Row& row, int batch, const Gate& gate) {
  const int first = batch * kBatch;
  const int own = first + 4 * lane_of();
  float scores[4 * kVectors];
  load_batch(scores, row, first, own);
  const float least = gate.least_at(first);
  unsigned mine = 0, sure = 0;
#pragma unroll
  for (int j = 0; j < 4 * kVectors; ++j) {
    const bool above = Marks && scores[j] > gate.sure;
    if (above) sure |= 1u << j;
    if (!above && scores[j] >= least) mine |= 1u << j;
  }
  unsigned base = 0, total = 0, inclusive = 0;
  if (__any_sync(kAllLanes, (mine | sure) != 0) != 0) {
    inclusive = warp_scan(static_cast<unsigned>(__popc(mine) | __popc(sure) << 16));
    total = __shfl_sync(kAllLanes, inclusive, kWarp - 1);
    base = reserve(shared, total & 0xffffu);
    if (base + (total & 0xffffu) > Shared::kCapacity) return false;
  }
  if (Marks) {
    marks_of(shared.words)[batch * kWarp + lane_of()] = static_cast<std::uint16_t>(sure);
    if (total >> 16 != 0 && lane_of() == 0) atomicAdd(&shared.marked, total >> 16);
  }
  if ((total & 0xffffu) == 0) return true;
  uint2* to = shared.list + base + (inclusive & 0xffffu) - static_cast<unsigned>(__popc(mine));
#pragma unroll
  for (int j = 0; j < 4 * kVectors; ++j) {
    if ((mine >> j & 1) != 0) {
      *to++ = make_uint2(__float_as_uint(scores[j]),
                         static_cast<unsigned>(own + 4 * kWarp * (j / 4) + j % 4));
    }
  }
  return true;
}

// The same for the 32 entries of another block's list from index 32 * batch on.
template <typename Shared>
__device__ bool take_entries(Shared& shared, const uint2* list, int count, int batch,
                             const Gate& gate) {
  const int i = batch * kWarp + lane_of();
  const uint2 entry = i < count ? list[i] : uint2{};
  const bool passes =
      i < count && __uint_as_float(entry.x) >= gate.least_at(static_cast<int>(entry.y));
  const unsigned takers = __ballot_sync(kAllLanes, passes);
  if (takers == 0) return true;
  const auto total = static_cast<unsigned>(__popc(takers));
  const unsigned base = reserve(shared, total);
  if (base + total > Shared::kCapacity) return false;
  const unsigned before = takers & ((1u << lane_of()) - 1);
  if (passes) shared.list[base + static_cast<unsigned>(__popc(before))] = entry;
  return true;
}

// Cuts the list to its best entries; rare, so no reason for registers elsewhere. In place: a
// round's survivors fit in front of what the barrier of the round has seen read.
template <typename Shared>
__noinline__ __device__ Gate cut(Shared& shared, unsigned wanted, float sure) {
  constexpr int kThreads = Shared::kThreads;
  const auto count = static_cast<int>(min(shared.filled, shared.refused));
  const Threshold threshold =
      choose(shared.chooser, ListEntries<kThreads>{shared.list, count}, wanted);
  if (threadIdx.x == 0) shared.filled = 0, shared.refused = ~0u;
  ListEntries<kThreads>{shared.list, count}.each(
      [&](bool present, std::uint32_t key, int position) {
        __syncthreads();
        const bool stays = present && threshold.takes(key, position);
        const unsigned stayers = __ballot_sync(kAllLanes, stays);
        const unsigned base = reserve(shared, static_cast<unsigned>(__popc(stayers)));
        const unsigned before = stayers & ((1u << lane_of()) - 1);
        if (stays) {
          shared.list[base + static_cast<unsigned>(__popc(before))] =
              make_uint2(__float_as_uint(score_of(key)), static_cast<unsigned>(position));
        }
      });
  __syncthreads();
  return gate_of(threshold, sure);
}

template <typename Shared>
__device__ void empty(Shared& shared) {
  __syncthreads();  // nobody reads the counts any more
  if (threadIdx.x == 0) shared.filled = 0, shared.refused = ~0u, shared.marked = 0;
  __syncthreads();
}

// Takes batches first, first + step, ... of every warp, and cuts the list when it is full. Stops
// (false) when k elements are marked and more would have to go to the list.
template <typename Shared, typename Take>
__device__ bool take_all(Shared& shared, int first, int step, int batches, int k, Gate& gate,
                         const Take& take) {
  int batch = first;
  for (;;) {
    while (batch < batches && take(batch, gate)) batch += step;
    if (__syncthreads_or(batch < batches ? 1 : 0) == 0) return true;
    const int wanted = k - static_cast<int>(shared.marked);
    if (wanted <= 0) return false;
    gate = cut(shared, static_cast<unsigned>(wanted), gate.sure);
  }
}

// Fills the lists of the team with at least the k best elements of the row. If fewer than k passed
// an open gate, some are NaN: the row is read once more, so that even then its set is whole.
template <typename Shared, typename Team>
__device__ void read_row(Shared& shared, Row row, int k, const Team& team, Gate& gate) {
  const int batches = static_cast<int>(ceil_div(row.candidates, kBatch));
  for (;;) {
    const bool open = gate.at == -INFINITY;
    empty(shared);
    take_all(shared, team.rank() * Shared::kWarps + warp_of(), team.size() * Shared::kWarps,
             batches, k, gate,
             [&](int batch, const Gate& g) { return take_batch<false>(shared, row, batch, g); });
    team.sync();
    unsigned held = 0;
    for (int peer = 0; peer < team.size(); ++peer) held += *team.of(&shared.filled, peer);
    team.sync();  // everyone has counted
    if (held >= static_cast<unsigned>(k)) return;
    row.nan_is_least = open;
    gate = open_gate();
  }
}

// Writes the k best of a row that has more candidates.
template <typename Shared, typename Team>
__device__ void select_listed(Shared& shared, const Row& row, int k, const Team& team, Gate gate,
                              std::int32_t* out) {
  read_row(shared, row, k, team, gate);
  if (team.rank() == 0) {
    for (int peer = 1; peer < team.size(); ++peer) {
      const uint2* list = team.of(shared.list, peer);
      const auto count = static_cast<int>(*team.of(&shared.filled, peer));
      take_all(
          shared, warp_of(), Shared::kWarps, static_cast<int>(ceil_div(count, kWarp)), k, gate,
          [&](int batch, const Gate& g) { return take_entries(shared, list, count, batch, g); });
    }
  }
  team.sync();  // the lists have been collected
  if (team.rank() != 0) return;
  const ListEntries<Shared::kThreads> entries{shared.list, static_cast<int>(shared.filled)};
  const Threshold threshold = choose(shared.chooser, entries, static_cast<unsigned>(k));
  write_chosen(shared.chooser, entries, threshold, row.candidates, shared.words, Shared::kWords,
               out);
}

}  // namespace indexcache::kernels
