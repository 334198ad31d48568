// SPDX-License-Identifier: Apache-2.0
// A warp per position.
#include "kernels/latent_fp8.cuh"
#include "kernels/paged_cache.h"

namespace indexcache::kernels {
namespace {

constexpr int kWarps = 8;  // of a block
constexpr int kThreads = kWarps * kWarp;

__device__ void copy_numbers(char* to, const char* from, int bytes, int lane) {
  for (int i = lane; i < bytes / kPageCopyUnit; i += kWarp) {
    reinterpret_cast<uint2*>(to)[i] = reinterpret_cast<const uint2*>(from)[i];
  }
}

template <typename T>
__device__ void write_latent(char* to, const T* x, int lane) {
  float values[kLatentPerLane];
  float largest = 1e-10f;
#pragma unroll
  for (int i = 0; i < kLatentPerLane; ++i) {
    values[i] = to_float(x[lane * kLatentPerLane + i]);
    largest = fmaxf(largest, fabsf(values[i]));
  }
#pragma unroll
  for (int step = 1; step < kLatentGroupLanes; step *= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, step));
  }
  const float scale = largest / 448.0f;
  std::uint32_t words[4] = {};
#pragma unroll
  for (int i = 0; i < kLatentPerLane / 2; ++i) {
    const float2 two = {values[2 * i] / scale, values[2 * i + 1] / scale};
    const std::uint32_t pair = __nv_cvt_float2_to_fp8x2(two, __NV_SATFINITE, __NV_E4M3);
    words[i / 2] |= pair << (i % 2 * 16);
  }
  reinterpret_cast<uint4*>(to)[lane] = {words[0], words[1], words[2], words[3]};
  if (lane % kLatentGroupLanes == 0) {
    reinterpret_cast<float*>(to + kLatentRank)[lane / kLatentGroupLanes] = scale;
  }
  bf16* const rope = const_cast<bf16*>(latent_rope(to));
  for (int i = lane; i < kLatentRope; i += kWarp) {
    rope[i] = from_float<bf16>(to_float(x[kLatentRank + i]));
  }
}

template <typename T>
__device__ void read_latent_as(T* to, const char* from, int lane) {
  float values[kLatentPerLane];
  read_latent(from, lane, values);
#pragma unroll
  for (int i = 0; i < kLatentPerLane; ++i) {
    to[lane * kLatentPerLane + i] = from_float<T>(values[i]);
  }
  for (int i = lane; i < kLatentRope; i += kWarp) {
    to[kLatentRank + i] = from_float<T>(to_float(latent_rope(from)[i]));
  }
}

__global__ void __launch_bounds__(kThreads) write_pages_kernel(WritePagesParams p) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int sequence = static_cast<int>(blockIdx.y);
  const KeySegment segment = p.segments[sequence];
  const int i = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (i >= segment.rows) return;
  const std::int64_t row = segment.first_row + i;
  const int position = segment.first_position + i;
  const char* const from = static_cast<const char*>(p.x) + row * p.row_bytes;
  char* const to = p.pages.numbers(sequence, position);
  if (p.pages.kind != PageKind::latent_fp8) {
    copy_numbers(to, from, p.pages.position_bytes, lane);
    if (p.pages.kind == PageKind::index_fp8 && lane == 0) {
      *p.pages.scale(sequence, position) = p.scales[row];
    }
  } else if (p.type == Type::bf16) {
    write_latent(to, reinterpret_cast<const bf16*>(from), lane);
  } else {
    write_latent(to, reinterpret_cast<const float*>(from), lane);
  }
}

__global__ void __launch_bounds__(kThreads) gather_pages_kernel(GatherPagesParams p) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = static_cast<int>(blockIdx.y);
  const RowPlace place = p.places[row];
  const int i = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (i >= place.candidates) return;
  const int position = p.sets == nullptr ? i : p.sets[row * p.sets_stride + i];
  const std::int64_t to = std::int64_t{place.key_base} + i;
  const char* const from = p.pages.numbers(row, position);
  if (p.pages.kind != PageKind::latent_fp8) {
    copy_numbers(static_cast<char*>(p.out) + to * p.pages.position_bytes, from,
                 p.pages.position_bytes, lane);
    if (p.pages.kind == PageKind::index_fp8 && lane == 0) {
      p.scales[to] = *p.pages.scale(row, position);
    }
  } else if (p.type == Type::bf16) {
    read_latent_as(static_cast<bf16*>(p.out) + to * (kLatentRank + kLatentRope), from, lane);
  } else {
    read_latent_as(static_cast<float*>(p.out) + to * (kLatentRank + kLatentRope), from, lane);
  }
}

bool valid(const Pages& pages, Type type) {
  if (pages.kind == PageKind::latent_fp8) {
    return pages.position_bytes == kLatentBytes && (type == Type::f32 || type == Type::bf16);
  }
  return pages.position_bytes % kPageCopyUnit == 0;
}

}  // namespace

cudaError_t write_pages(const WritePagesParams& params, cudaStream_t stream) {
  if (params.most_rows == 0 || params.segment_count == 0) return cudaSuccess;
  if (!valid(params.pages, params.type) || params.row_bytes % kPageCopyUnit != 0) {
    return cudaErrorInvalidValue;
  }
  const dim3 grid(static_cast<unsigned>(ceil_div(params.most_rows, kWarps)),
                  static_cast<unsigned>(params.segment_count));
  write_pages_kernel<<<grid, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t gather_pages(const GatherPagesParams& params, cudaStream_t stream) {
  if (params.rows == 0 || params.most_keys == 0) return cudaSuccess;
  if (!valid(params.pages, params.type)) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(ceil_div(params.most_keys, kWarps)),
                  static_cast<unsigned>(params.rows));
  gather_pages_kernel<<<grid, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace indexcache::kernels
