// SPDX-License-Identifier: Apache-2.0
// The epilogue of a product with lm_head reduces the logits of a tile while they are in registers;
// a second kernel puts the parts of a row together.
#include "kernels/grouped_gemm_sm90.cuh"
#include "kernels/next_token.h"

namespace indexcache::kernels {
namespace {

enum class Task { loss, reference, compare };

struct Top {
  float logit;
  int token;
};

__device__ inline Top higher(Top a, Top b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token) ? a : b;
}

__device__ inline Top shuffled(Top top, int mask) {
  return {__shfl_xor_sync(kAllLanes, top.logit, mask), __shfl_xor_sync(kAllLanes, top.token, mask)};
}

__device__ inline int part_count(const NextTokenParams& p) {
  return static_cast<int>(ceil_div(p.vocabulary, kNextTokenColumns));
}

// The accumulators of a quad are 256 columns of a row: register 4 i + 2 r + e of lane q has column
// 8 i + 2 q + e of row r.
template <Task kTask>
struct Reduce {
  static constexpr bool kOrdered = false;

  NextTokenParams p;
  float* logits;                        // written for Task::reference, read for Task::compare
  const NextTokenReference* reference;  // for Task::compare

  template <int Registers>
  __device__ __forceinline__ void operator()(const grouped::Tile& tile,
                                             const float (&d)[Registers]) const {
    static_assert(2 * Registers == kNextTokenColumns);
    const grouped::ThreadPlace place;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int slot = place.row + 8 * r;
      // A row that is not there computes what the last one does, and writes nothing.
      const std::int64_t row = tile.first_slot + min(slot, tile.slots - 1);
      const NextTokenPart part =
          of_row<Registers>(row, tile.column_tile * 2 * Registers, d + 2 * r, slot < tile.slots);
      if (slot < tile.slots && place.lane % 4 == 0) {
        p.parts[row * part_count(p) + tile.column_tile] = part;
      }
    }
  }

  template <int Registers>
  __device__ __forceinline__ NextTokenPart of_row(std::int64_t row, int first, const float* d,
                                                  bool present) const {
    const int own = first + static_cast<int>(threadIdx.x) % 4 * 2;
    const int columns = p.vocabulary - own;  // that are there, from this lane's first one on
    Top top = {-INFINITY, p.vocabulary};
#pragma unroll
    for (int i = 0; i < Registers; i += 4) {
      if (2 * i >= columns) continue;  // both or none: their number is a multiple of 8
      top = higher(top, {d[i], own + 2 * i});
      top = higher(top, {d[i + 1], own + 2 * i + 1});
    }
    top = higher(top, shuffled(top, 1));
    top = higher(top, shuffled(top, 2));
    const int target = p.targets[row];
    float sum = 0, weighted = 0;
    float* const row_logits = kTask == Task::loss ? nullptr : logits + row * p.vocabulary + own;
    const float peak = kTask == Task::compare ? reference[row].peak : 0.0f;
#pragma unroll
    for (int i = 0; i < Registers; i += 4) {
      if (2 * i >= columns) continue;
      sum += expf(d[i] - top.logit);
      sum += expf(d[i + 1] - top.logit);
      if (present && own + 2 * i == target) p.target_logits[row] = d[i];
      if (present && own + 2 * i + 1 == target) p.target_logits[row] = d[i + 1];
      if (kTask == Task::reference && present) {
        *reinterpret_cast<float2*>(row_logits + 2 * i) = make_float2(d[i], d[i + 1]);
      }
      if (kTask == Task::compare) {
        const float2 other = *reinterpret_cast<const float2*>(row_logits + 2 * i);
        weighted = fmaf(expf(other.x - peak), other.x - d[i], weighted);
        weighted = fmaf(expf(other.y - peak), other.y - d[i + 1], weighted);
      }
    }
    return {top.logit, quad_sum(sum), quad_sum(weighted), top.token};
  }

  __device__ static float quad_sum(float value) {
    value += __shfl_xor_sync(kAllLanes, value, 1);
    return value + __shfl_xor_sync(kAllLanes, value, 2);
  }
};

// All columns of a row.
struct Whole {
  Top top;
  double sum, weighted;
};

// A warp's.
__device__ Whole put_together(const NextTokenParams& p, std::int64_t row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int count = part_count(p);
  const NextTokenPart* const parts = p.parts + row * count;
  Top top = {-INFINITY, p.vocabulary};
  for (int i = lane; i < count; i += kWarp) top = higher(top, {parts[i].peak, parts[i].top});
  for (int offset = kWarp / 2; offset > 0; offset /= 2) top = higher(top, shuffled(top, offset));
  double sum = 0, weighted = 0;
  for (int i = lane; i < count; i += kWarp) {
    const NextTokenPart part = parts[i];
    sum += static_cast<double>(part.sum) * static_cast<double>(expf(part.peak - top.logit));
    weighted += static_cast<double>(part.weighted);
  }
  return {top, warp_sum(sum), warp_sum(weighted)};
}

constexpr int kRowsPerBlock = 8;

// Calls write(row, whole, has a target) in one lane for each row.
template <typename Write>
__device__ void for_rows(const NextTokenParams& p, const Write& write) {
  const std::int64_t row =
      std::int64_t{blockIdx.x} * kRowsPerBlock + static_cast<int>(threadIdx.x) / kWarp;
  if (row >= p.rows) return;
  const Whole whole = put_together(p, row);
  if (threadIdx.x % kWarp == 0) write(row, whole, p.targets[row] >= 0);
}

__device__ double loss_of(const NextTokenParams& p, std::int64_t row, const Whole& whole) {
  return log(whole.sum) -
         (static_cast<double>(p.target_logits[row]) - static_cast<double>(whole.top.logit));
}

__global__ void losses_kernel(NextTokenParams p, double* losses) {
  for_rows(p, [&](std::int64_t row, const Whole& whole, bool counts) {
    losses[row] = counts ? loss_of(p, row, whole) : 0;
  });
}

__global__ void reference_kernel(NextTokenParams p, NextTokenReference* reference) {
  for_rows(p, [&](std::int64_t row, const Whole& whole, bool) {
    reference[row] = {whole.sum, whole.top.logit, whole.top.token};
  });
}

// KL = sum_v p_v (r_v - x_v) - logsumexp(r) + logsumexp(x), which is 0 for equal rows.
__global__ void comparison_kernel(NextTokenParams p, NextTokenComparison to) {
  for_rows(p, [&](std::int64_t row, const Whole& whole, bool counts) {
    const NextTokenReference other = to.reference[row];
    const double own_log = static_cast<double>(whole.top.logit) + log(whole.sum);
    const double other_log = static_cast<double>(other.peak) + log(other.sum);
    const double kl = whole.weighted / other.sum + (own_log - other_log);
    to.losses[row] = counts ? loss_of(p, row, whole) : 0;
    to.kl[row] = !counts || kl < 0 ? 0 : kl;  // rounding; not a NaN
    to.same_top[row] = counts && other.top == whole.top.token ? 1 : 0;
  });
}

GroupedGemmParams product_of(const NextTokenParams& p) {
  GroupedGemmParams product{};
  product.x = p.x;
  product.type = Type::bf16;
  product.x_stride = p.x_stride;
  product.weights = p.lm_head;
  product.groups = 1;
  product.slots = p.rows;
  product.cols = p.vocabulary;
  product.depth = p.depth;
  product.out_type = Type::f32;
  product.out_stride = p.vocabulary;
  product.scratch = p.scratch;
  return product;
}

template <Task kTask>
cudaError_t reduce(const NextTokenParams& p, float* logits, const NextTokenReference* reference,
                   cudaStream_t stream) {
  if (!next_token_applies(p)) return cudaErrorInvalidValue;
  return grouped::launch<bf16>(product_of(p), Reduce<kTask>{p, logits, reference}, stream);
}

// One warp per row.
template <typename Kernel, typename... Rest>
cudaError_t finish(Kernel kernel, cudaStream_t stream, const NextTokenParams& p, Rest... rest) {
  kernel<<<static_cast<unsigned>(ceil_div(p.rows, kRowsPerBlock)), kRowsPerBlock * kWarp, 0,
           stream>>>(p, rest...);
  return cudaGetLastError();
}

}  // namespace

bool next_token_applies(const NextTokenParams& params) {
  return grouped_gemm_applies(product_of(params));
}

cudaError_t next_token_losses(const NextTokenParams& params, double* losses, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  const cudaError_t status = reduce<Task::loss>(params, nullptr, nullptr, stream);
  return status != cudaSuccess ? status : finish(losses_kernel, stream, params, losses);
}

cudaError_t next_token_reference(const NextTokenParams& params, float* logits,
                                 NextTokenReference* reference, cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  const cudaError_t status = reduce<Task::reference>(params, logits, nullptr, stream);
  return status != cudaSuccess ? status : finish(reference_kernel, stream, params, reference);
}

cudaError_t compare_next_tokens(const NextTokenParams& params, const NextTokenComparison& to,
                                cudaStream_t stream) {
  if (params.rows == 0) return cudaSuccess;
  const cudaError_t status =
      reduce<Task::compare>(params, const_cast<float*>(to.reference_logits), to.reference, stream);
  return status != cudaSuccess ? status : finish(comparison_kernel, stream, params, to);
}

}  // namespace indexcache::kernels
