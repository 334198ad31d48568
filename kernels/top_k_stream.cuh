// SPDX-License-Identifier: Apache-2.0
// Top-k of long rows that reads a row once.
//
// Warps read batches of the row on their own and append what passes a gate to a list in shared
// memory. The gate starts as a guess from a sample of the row, low enough that about one and a half
// to two times k elements pass. Whoever finds no room waits for the block, which then cuts the list
// to its k best; the last of them is the new gate, and it is exact: what fails it cannot be among
// the k best of the row. So a guess that is too low costs only cuts. If fewer than k elements pass,
// the guess was too high, and the row is read again with an open gate. A class of equal scores at
// the gate does not fill the list: after the last position that a cut kept, only higher scores
// pass.
//
// A team of blocks shares a row, each with a list of its own; the first one collects the lists.
#pragma once

#include "kernels/top_k.cuh"

namespace indexcache::kernels {

constexpr int kVectors = 4;                   // of four scores, of a lane in a batch
constexpr int kBatch = 4 * kVectors * kWarp;  // elements
constexpr int kRunVectors = 4;                // of a run of the sample: 64 bytes
constexpr int kManyCandidates = 65536;        // from here on, the sample is twice as large
constexpr float kDeviations = 5.0f;           // how far the sample may err
constexpr int kBitmapWords = 4096;

template <int Threads, int Capacity>
struct StreamShared {
  static constexpr int kThreads = Threads;
  static constexpr int kWarps = Threads / kWarp;
  static constexpr int kCapacity = Capacity;
  static constexpr int kMost = Capacity / 2;  // of k: the rest takes what passes and is not chosen
  Chooser<Threads, kBitmapWords> chooser;
  uint2 list[Capacity];  // bits of the score, position; in no particular order
  unsigned filled;       // entries, if nobody was refused
  unsigned refused;      // the least number of entries at which somebody was
};

// Three blocks of a multiprocessor have 227 KB.
using ManyRows = StreamShared<512, 7168>;
using LargeSets = StreamShared<1024, 2 * kMostStreamed>;

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
};

// Scores at or above `at` pass, after `position` those at or above `above`.
struct Gate {
  float at, above;
  int position;
  __device__ float least_at(int place) const { return place > position ? above : at; }
};

__device__ inline Gate open_gate() {
  return {-INFINITY, -INFINITY, kLastPosition};
}
__device__ inline Gate gate_of(const Threshold& t) {
  return {score_of(t.key), score_of(t.key + 1), t.position};
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
  const int halves = row.candidates >= kManyCandidates ? 2 : 1;
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

// A score that about (1 + 2 kDeviations / sqrt(x)) k elements reach, where x is how many of the k
// best the sample should hold: the number in the sample varies by its root.
template <typename Chooser>
__device__ Gate guess_gate(Chooser& chooser, const Row& row, int k) {
  constexpr int kThreads = Chooser::kThreads;
  const SampleEntries<kThreads> entries = sample<kThreads>(row);
  const int size = entries.count * kThreads;
  const float expected =
      static_cast<float>(k) * static_cast<float>(size) / static_cast<float>(row.candidates);
  const float root = kDeviations / 2 + sqrtf(kDeviations * kDeviations / 4 + expected);
  const auto wanted = static_cast<unsigned>(root * root) + 1;
  if (wanted >= static_cast<unsigned>(size)) return open_gate();
  const Bound bound = narrow(chooser, entries, ByScore{}, wanted, wanted / 8);
  return {score_of(bound.low), 0.0f, kLastPosition};
}

// The four scores from element i on; NaN, which passes no gate, where the row has ended.
__device__ inline float4 load_tail(const Row& row, int i) {
  float4 four = make_float4(NAN, NAN, NAN, NAN);
  if (i < row.candidates) four.x = row.scores[i];
  if (i + 1 < row.candidates) four.y = row.scores[i + 1];
  if (i + 2 < row.candidates) four.z = row.scores[i + 2];
  if (i + 3 < row.candidates) four.w = row.scores[i + 3];
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
  } else {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) put(scores, v, load_tail(row, own + 4 * kWarp * v));
  }
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

// Appends what passes of a batch, or nothing if there is no room (false).
template <typename Shared>
__device__ bool take_batch(Shared& shared, const Row& row, int batch, const Gate& gate) {
  const int first = batch * kBatch;
  const int own = first + 4 * lane_of();
  float scores[4 * kVectors];
  load_batch(scores, row, first, own);
  const float least = gate.least_at(first);
  unsigned mine = 0;
#pragma unroll
  for (float score : scores) mine += score >= least ? 1 : 0;
  if (__any_sync(kAllLanes, mine != 0) == 0) return true;
  const unsigned inclusive = warp_scan(mine);
  const unsigned total = __shfl_sync(kAllLanes, inclusive, kWarp - 1);
  const unsigned base = reserve(shared, total);
  if (base + total > Shared::kCapacity) return false;
  uint2* to = shared.list + base + inclusive - mine;
#pragma unroll
  for (int j = 0; j < 4 * kVectors; ++j) {
    if (scores[j] >= least) {
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

// Cuts the list to its k best entries. In place: a round's survivors fit in front of what the
// barrier of the round has seen read.
template <typename Shared>
__device__ Gate cut(Shared& shared, int k) {
  constexpr int kThreads = Shared::kThreads;
  const auto count = static_cast<int>(min(shared.filled, shared.refused));
  const Threshold threshold = choose(shared.chooser, ListEntries<kThreads>{shared.list, count}, k);
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
  return gate_of(threshold);
}

// Takes batches first, first + step, ... of every warp, and cuts the list when it is full.
template <typename Shared, typename Take>
__device__ void take_all(Shared& shared, int first, int step, int batches, int k, Gate& gate,
                         const Take& take) {
  int batch = first;
  for (;;) {
    while (batch < batches && take(batch, gate)) batch += step;
    if (__syncthreads_or(batch < batches ? 1 : 0) == 0) return;
    gate = cut(shared, k);
  }
}

// Fills the lists of the team with at least the k best elements of the row.
template <typename Shared, typename Team>
__device__ Gate read_row(Shared& shared, const Row& row, int k, const Team& team) {
  const int batches = static_cast<int>(ceil_div(row.candidates, kBatch));
  bool open = row.candidates <= Shared::kCapacity;
  Gate gate = open ? open_gate() : guess_gate(shared.chooser, row, k);
  for (;;) {
    if (threadIdx.x == 0) shared.filled = 0, shared.refused = ~0u;
    __syncthreads();
    take_all(shared, team.rank() * Shared::kWarps + warp_of(), team.size() * Shared::kWarps,
             batches, k, gate,
             [&](int batch, const Gate& g) { return take_batch(shared, row, batch, g); });
    team.sync();
    unsigned held = 0;
    for (int peer = 0; peer < team.size(); ++peer) held += *team.of(&shared.filled, peer);
    team.sync();  // everyone has counted
    if (open || held >= static_cast<unsigned>(k)) return gate;
    open = true;
    gate = open_gate();
    __syncthreads();
  }
}

template <typename Shared, typename Team>
__device__ void select_row(const TopKParams& p, std::int64_t index, Shared& shared,
                           const Team& team) {
  constexpr int kThreads = Shared::kThreads;
  const int k = static_cast<int>(p.k);
  std::int32_t* out = p.sets + index * p.sets_stride;
  const Row row{p.scores + index * p.stride, candidates_of(p, index)};
  if (row.candidates <= k) {
    if (team.rank() == 0) write_all(out, row.candidates, k);
    return;
  }
  Gate gate = read_row(shared, row, k, team);
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
  const ListEntries<kThreads> entries{shared.list, static_cast<int>(shared.filled)};
  const Threshold threshold = choose(shared.chooser, entries, k);
  write_chosen(shared.chooser, entries, threshold, row.candidates, out);
}

}  // namespace indexcache::kernels
