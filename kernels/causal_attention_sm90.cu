// SPDX-License-Identifier: Apache-2.0
// bf16 on Hopper, after FlashAttention-3 (arXiv 2407.08608): a block owns 128 queries of a head, of
// which two warpgroups multiply 64 each. The third one copies keys and values with cp.async. The
// products with a block of values run while the softmax of the next block of keys is computed.
//
// Bounds per warpgroup and block of keys, in cycles (192 + 128; 256 + 256): products 1,280; 1,280.
// Shared memory, of which operands are read and copies written at 128 bytes per cycle: 1,150;
// 1,220.
#include "kernels/architecture.h"
#include "kernels/causal_attention.h"
#include "kernels/exponential.cuh"
#include "kernels/mbarrier.cuh"
#include "kernels/mma.cuh"
#include "kernels/wgmma_attention.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kGroupThreads = 128;  // of a warpgroup
constexpr int kGroups = 2;          // that multiply
constexpr int kGroupQueries = 64;
constexpr int kQueries = kGroups * kGroupQueries;  // of a block
constexpr int kThreads = (kGroups + 1) * kGroupThreads;
constexpr int kStages = 2;
constexpr int kLine = 64;        // columns of a unit, whose rows are lines of 128 bytes
constexpr int kCopiedRows = 16;  // by the warpgroup at a time: eight threads copy a line
// Of a thread; the launch takes 168 each.
constexpr int kMathRegisters = 224;
constexpr int kCopyRegisters = 56;

// Units of keys, both parts together, and of values; keys of a block.
template <int KeyUnits, int ValueUnits, int Keys>
struct Shape {
  static constexpr int kKeyUnits = KeyUnits;
  static constexpr int kValueUnits = ValueUnits;
  static constexpr int kKeys = Keys;
  static constexpr int kQueryUnitBytes = kQueries * 128;
  static constexpr int kUnitBytes = Keys * 128;
  static constexpr int kScores = Keys / 2;  // of a thread
  static constexpr int kSums = ValueUnits * kLine / 2;
  // Offsets in shared memory.
  static constexpr int kKeyOffset = KeyUnits * kQueryUnitBytes;
  static constexpr int kValueOffset = kKeyOffset + kStages * KeyUnits * kUnitBytes;
  static constexpr int kBarriers = kValueOffset + kStages * ValueUnits * kUnitBytes;
  static constexpr int kBytes = kBarriers + 8 * (4 * kStages + 1) + 1024;  // aligned
  static_assert(kBytes <= 227 * 1024 && Keys % kCopiedRows == 0);
};

template <class S>
struct Shared {
  std::uint32_t base;

  __device__ std::uint32_t at(int offset) const {
    return base + static_cast<std::uint32_t>(offset);
  }
  __device__ std::uint32_t queries() const { return base; }
  __device__ std::uint32_t keys(int stage) const {
    return at(S::kKeyOffset + stage * S::kKeyUnits * S::kUnitBytes);
  }
  __device__ std::uint32_t values(int stage) const {
    return at(S::kValueOffset + stage * S::kValueUnits * S::kUnitBytes);
  }
  // Barriers: rows have come; nobody needs them any more.
  __device__ std::uint32_t keys_full(int stage) const { return barrier(stage); }
  __device__ std::uint32_t values_full(int stage) const { return barrier(kStages + stage); }
  __device__ std::uint32_t keys_empty(int stage) const { return barrier(2 * kStages + stage); }
  __device__ std::uint32_t values_empty(int stage) const { return barrier(3 * kStages + stage); }
  __device__ std::uint32_t queries_full() const { return barrier(4 * kStages); }

  __device__ void init() const {
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < kStages; ++stage) {
        barrier_make(keys_full(stage), kGroupThreads);
        barrier_make(values_full(stage), kGroupThreads);
        barrier_make(keys_empty(stage), kGroups * kGroupThreads);
        barrier_make(values_empty(stage), kGroups * kGroupThreads);
      }
      barrier_make(queries_full(), kGroupThreads);
      barriers_made();
    }
    __syncthreads();
  }

 private:
  __device__ std::uint32_t barrier(int i) const { return at(S::kBarriers + 8 * i); }
};

// The queries of a block.
struct Tile {
  KeySegment segment;
  int head;
  int first;  // of the segment's rows
  int count;  // of queries
  int keys;   // candidates of the last one

  __device__ explicit Tile(const CausalAttentionParams& p)
      : segment(p.segments[blockIdx.z]),
        head(static_cast<int>(blockIdx.y)),
        // Those with most keys come first.
        first(static_cast<int>(gridDim.x - 1 - blockIdx.x) * kQueries),
        count(min(kQueries, segment.rows - first)),
        keys(count <= 0 ? 0 : segment.candidates(first + count - 1)) {}

  __device__ int blocks(int block_keys) const { return (keys + block_keys - 1) / block_keys; }
};

// The warpgroup that copies.
template <class S>
class Copier {
 public:
  __device__ Copier(const CausalAttentionParams& p, const Tile& tile, const Shared<S>& shared)
      : p_(p), tile_(tile), shared_(shared) {}

  __device__ void run() const {
    copy_queries();
    const std::int64_t base = tile_.segment.key_base;
    const bf16* const nope = static_cast<const bf16*>(p_.nope) + base * p_.nope_stride +
                             tile_.head * p_.nope_head_stride;
    const bf16* const rope = static_cast<const bf16*>(p_.rope) + base * p_.rope_stride;
    const bf16* const values = static_cast<const bf16*>(p_.values) + base * p_.value_stride +
                               tile_.head * p_.value_head_stride;
    const int nope_units = p_.nope_width / kLine;
    Turn<kStages> turn;
    for (int first = 0; first < tile_.keys; first += S::kKeys) {
      const int count = tile_.keys - first;
      barrier_wait(shared_.keys_empty(turn.stage), turn.parity ^ 1);
      const std::uint32_t keys = shared_.keys(turn.stage);
      copy_units(keys, nope + first * p_.nope_stride, p_.nope_stride, nope_units, count);
      copy_units(keys + static_cast<std::uint32_t>(nope_units * S::kUnitBytes),
                 rope + first * p_.rope_stride, p_.rope_stride, S::kKeyUnits - nope_units, count);
      barrier_arrive_after_copies(shared_.keys_full(turn.stage));
      barrier_wait(shared_.values_empty(turn.stage), turn.parity ^ 1);
      copy_units(shared_.values(turn.stage), values + first * p_.value_stride, p_.value_stride,
                 S::kValueUnits, count);
      barrier_arrive_after_copies(shared_.values_full(turn.stage));
      turn.advance(1);
    }
    copy_async_commit();
    copy_async_wait<0>();
  }

 private:
  const int thread_ = static_cast<int>(threadIdx.x) % kGroupThreads;
  const int chunk_ = thread_ % 8, row_ = thread_ / 8;

  // Rows from `count` on become zero.
  template <int Rows>
  __device__ void copy_unit(std::uint32_t to, const bf16* from, std::int64_t stride,
                            int count) const {
#pragma unroll
    for (int pass = 0; pass < Rows / kCopiedRows; ++pass) {
      const int row = pass * kCopiedRows + row_;
      const bool present = row < count;
      copy_async(to + swizzled_chunk(row, chunk_), from + (present ? row : 0) * stride + 8 * chunk_,
                 present);
    }
  }

  __device__ void copy_units(std::uint32_t to, const bf16* from, std::int64_t stride, int units,
                             int count) const {
    for (int unit = 0; unit < units; ++unit) {
      copy_unit<S::kKeys>(to + static_cast<std::uint32_t>(unit * S::kUnitBytes),
                          from + unit * kLine, stride, count);
    }
  }

  __device__ void copy_queries() const {
    const bf16* const from =
        static_cast<const bf16*>(p_.queries) +
        (std::int64_t{tile_.segment.first_row} + tile_.first) * p_.query_stride +
        tile_.head * p_.query_head_stride;
    for (int unit = 0; unit < S::kKeyUnits; ++unit) {
      copy_unit<kQueries>(shared_.queries() + static_cast<std::uint32_t>(unit * S::kQueryUnitBytes),
                          from + unit * kLine, p_.query_stride, tile_.count);
    }
    barrier_arrive_after_copies(shared_.queries_full());
  }

  const CausalAttentionParams& p_;
  const Tile& tile_;
  const Shared<S>& shared_;
};

// A warpgroup that multiplies. A thread has rows `row_` and `row_ + 8` of the block, and in every
// product two of eight neighboring columns.
template <class S>
class Multiplier {
 public:
  __device__ Multiplier(const CausalAttentionParams& p, const Tile& tile, const Shared<S>& shared,
                        int group)
      : p_(p),
        tile_(tile),
        shared_(shared),
        queries_(swizzled_operand(
            shared.queries() + static_cast<std::uint32_t>(group * kGroupQueries * 128), 16, 1024)),
        keys_(swizzled_operand(shared.keys(0), 16, 1024)),
        values_(swizzled_operand(shared.values(0), S::kUnitBytes, 1024)),
        factor_(p.scale * kLog2E),
        first_row_(group * kGroupQueries),
        row_(first_row_ + static_cast<int>(threadIdx.x) % kGroupThreads / kWarp * 16 + lane() / 4) {
    const float* const sink = p.sinks == nullptr ? nullptr : p.sinks + tile.head;
    for (int r = 0; r < 2; ++r) {
      // A product that the compiler sees would become part of an fma (attention_sinks.cuh).
      peak_[r] = sink == nullptr ? -INFINITY : __fmul_rn(*sink, kLog2E);
      sum_[r] = sink == nullptr || lane() % 4 != 0 ? 0.0f : 1.0f;
      candidates_[r] = tile.segment.candidates(tile.first + row_ + 8 * r);
    }
    fewest_ = tile.segment.candidates(tile.first + first_row_);
  }

  __device__ __forceinline__ void run() {
    float out[S::kSums], scores[S::kScores], shrink[2];
    std::uint32_t weights[S::kKeys / 16][4];
#pragma unroll
    for (float& x : out) x = 0;
    hold(out);
    const int blocks = tile_.blocks(S::kKeys);
    barrier_wait(shared_.queries_full(), 0);
    Turn<kStages> turn, before;
    begin_scores(scores, turn);
    wgmma_wait(scores);
    barrier_arrive(shared_.keys_empty(turn.stage));
    exponentials(scores, 0, shrink);
    pack_weights(scores, weights);
    for (int block = 1; block < blocks; ++block) {
      before = turn;
      turn.advance(1);
      begin_scores(scores, turn);
      begin_values(out, weights, before);
      wgmma_wait<1>();
      hold(scores);
      barrier_arrive(shared_.keys_empty(turn.stage));
      exponentials(scores, block * S::kKeys, shrink);
      wgmma_wait(out);
      barrier_arrive(shared_.values_empty(before.stage));
      shrink_sums(out, shrink);
      pack_weights(scores, weights);
    }
    begin_values(out, weights, turn);
    wgmma_wait(out);
    store(out);
  }

 private:
  __device__ static int lane() {
    return static_cast<int>(threadIdx.x) % kWarp;
  }

  __device__ __forceinline__ void begin_scores(float (&scores)[S::kScores],
                                               const Turn<kStages>& turn) const {
    barrier_wait(shared_.keys_full(turn.stage), turn.parity);
    fence_shared_for_wgmma();
    const std::uint64_t keys = moved(keys_, turn.stage * S::kKeyUnits * S::kUnitBytes);
    wgmma_begin();
#pragma unroll
    for (int step = 0; step < S::kKeyUnits * kLine / 16; ++step) {
      const int unit = step / 4, column = step % 4 * 32;
      wgmma_bf16(scores, moved(queries_, unit * S::kQueryUnitBytes + column),
                 moved(keys, unit * S::kUnitBytes + column), step > 0);
    }
    wgmma_commit();
  }

  __device__ __forceinline__ void begin_values(float (&out)[S::kSums],
                                               const std::uint32_t (&weights)[S::kKeys / 16][4],
                                               const Turn<kStages>& turn) const {
    barrier_wait(shared_.values_full(turn.stage), turn.parity);
    fence_shared_for_wgmma();
    const std::uint64_t values = moved(values_, turn.stage * S::kValueUnits * S::kUnitBytes);
    wgmma_begin();
#pragma unroll
    for (int step = 0; step < S::kKeys / 16; ++step) {
      wgmma_bf16_transposed(out, weights[step], moved(values, step * 16 * 128));
    }
    wgmma_commit();
  }

  // Scores of keys from `first` on become exponentials; shrink[r] is for earlier results. The
  // factor is above 0, so that the largest score has the largest logit.
  __device__ __forceinline__ void exponentials(float (&scores)[S::kScores], int first,
                                               float (&shrink)[2]) {
    if (first + S::kKeys > fewest_) mask(scores, first);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = scores[2 * r];
#pragma unroll
      for (int i = 1; i < S::kScores / 2; ++i) top = fmaxf(top, scores[i / 2 * 4 + 2 * r + i % 2]);
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
      const float peak = fmaxf(peak_[r], __fmul_rn(top, factor_));
      shrink[r] = exponential(peak_[r] - peak);
      float total = 0;
#pragma unroll
      for (int i = 0; i < S::kScores / 2; ++i) {
        float& x = scores[i / 2 * 4 + 2 * r + i % 2];
        x = exponential(fmaf(x, factor_, -peak));
        total += x;
      }
      sum_[r] = fmaf(sum_[r], shrink[r], total);
      peak_[r] = peak;
    }
  }

  // Keys that are no candidates of a row count for nothing.
  __device__ __forceinline__ void mask(float (&scores)[S::kScores], int first) const {
#pragma unroll
    for (int i = 0; i < S::kScores; ++i) {
      const int key = first + i / 4 * 8 + 2 * (lane() % 4) + i % 2;
      if (key >= candidates_[i / 2 % 2]) scores[i] = -INFINITY;
    }
  }

  __device__ __forceinline__ static void shrink_sums(float (&out)[S::kSums],
                                                     const float (&shrink)[2]) {
    if (__any_sync(kAllLanes, shrink[0] != 1.0f || shrink[1] != 1.0f)) {
#pragma unroll
      for (int i = 0; i < S::kSums; ++i) out[i] *= shrink[i / 2 % 2];
    }
  }

  __device__ __forceinline__ static void pack_weights(const float (&scores)[S::kScores],
                                                      std::uint32_t (&weights)[S::kKeys / 16][4]) {
#pragma unroll
    for (int i = 0; i < S::kScores / 2; ++i) {
      weights[i / 4][i % 4] = pack(scores[2 * i], scores[2 * i + 1]);
    }
  }

  // A lane gets eight columns of every 32 of a row.
  __device__ __forceinline__ void store(const float (&out)[S::kSums]) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float total = sum_[r] + __shfl_xor_sync(kAllLanes, sum_[r], 1);
      total += __shfl_xor_sync(kAllLanes, total, 2);
      const float factor = 1.0f / total;
      const std::int64_t row = std::int64_t{tile_.segment.first_row} + tile_.first + row_ + 8 * r;
      bf16* const to = static_cast<bf16*>(p_.out) + row * p_.out_stride +
                       tile_.head * p_.out_head_stride + lane() % 4 * 8;
#pragma unroll
      for (int i = 0; i < S::kSums / 4; i += 4) {
        std::uint32_t w[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float* const two = out + 4 * (i + j) + 2 * r;
          w[j] = pack(two[0] * factor, two[1] * factor);
        }
        transpose_quad(w);
        if (row_ + 8 * r < tile_.count) {
          *reinterpret_cast<uint4*>(to + 8 * i) = make_uint4(w[0], w[1], w[2], w[3]);
        }
      }
    }
  }

  const CausalAttentionParams& p_;
  const Tile& tile_;
  const Shared<S>& shared_;
  const std::uint64_t queries_, keys_, values_;  // of the first stage
  const float factor_;
  const int first_row_, row_;
  int candidates_[2];       // of the thread's rows
  int fewest_;              // of the warpgroup's first row
  float peak_[2], sum_[2];  // running maximum of scores times the factor, sum of this thread's keys
};

template <class S>
__global__ void __launch_bounds__(kThreads, 1)
    causal_sm90_kernel(const __grid_constant__ CausalAttentionParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char dynamic[];
  const Shared<S> shared{(shared_address(dynamic) + 1023u) & ~1023u};
  const Tile tile(p);
  if (tile.count <= 0) return;
  shared.init();
  const int group = agreed(static_cast<int>(threadIdx.x) / kGroupThreads);
  if (group == kGroups) {
    leave_registers<kCopyRegisters>();
    Copier<S>(p, tile, shared).run();
  } else {
    take_registers<kMathRegisters>();
    Multiplier<S>(p, tile, shared, group).run();
  }
#endif
}

template <class S>
cudaError_t launch(const CausalAttentionParams& p, cudaStream_t stream) {
  const auto kernel = causal_sm90_kernel<S>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kBytes);
  if (status != cudaSuccess) return status;
  const dim3 grid(static_cast<unsigned>(ceil_div(p.most_rows, kQueries)),
                  static_cast<unsigned>(p.heads), static_cast<unsigned>(p.segment_count));
  kernel<<<grid, kThreads, S::kBytes, stream>>>(p);
  return cudaGetLastError();
}

// Of DeepSeek-V3.2, and of GLM-5.
using Narrow = Shape<3, 2, 128>;
using Wide = Shape<4, 4, 80>;

template <class S>
bool has_widths(const CausalAttentionParams& p) {
  return p.nope_width + p.rope_width == S::kKeyUnits * kLine &&
         p.value_width == S::kValueUnits * kLine;
}

}  // namespace

bool causal_attention_sm90_applies(const CausalAttentionParams& p) {
  return causal_attention_mma_applies(p) && p.scale > 0 && p.nope_width % kLine == 0 &&
         (has_widths<Narrow>(p) || has_widths<Wide>(p)) && has_warpgroups();
}

cudaError_t causal_attention_sm90(const CausalAttentionParams& params, cudaStream_t stream) {
  if (!causal_attention_sm90_applies(params)) return cudaErrorInvalidValue;
  return has_widths<Narrow>(params) ? launch<Narrow>(params, stream) : launch<Wide>(params, stream);
}

}  // namespace indexcache::kernels
