// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_gemm_sm90.cuh"

namespace indexcache::kernels {
namespace {

// Eight columns per quad and register quadruple: lane q of a quad gets those of the q-th quadruple.
__device__ inline void store(bf16* to, const float* from, int column, int quad, int cols, bool) {
  std::uint32_t w[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) w[j] = pack(from[4 * j], from[4 * j + 1]);
  transpose_quad(w);
  if (to != nullptr && column + 8 * quad < cols) {
    *reinterpret_cast<uint4*>(to + column + 8 * quad) = make_uint4(w[0], w[1], w[2], w[3]);
  }
}

__device__ inline void store(float* to, const float* from, int column, int quad, int cols,
                             bool accumulate) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int at = column + 8 * j + 2 * quad;
    if (to == nullptr || at >= cols) continue;
    auto& pair = *reinterpret_cast<float2*>(to + at);
    const float2 before = accumulate ? pair : make_float2(0, 0);
    pair = make_float2(before.x + from[4 * j], before.y + from[4 * j + 1]);
  }
}

// Writes the results.
template <typename Out>
struct Store {
  Out* out;
  std::int64_t stride;
  int cols;
  bool accumulate;

  template <int Registers>
  __device__ __forceinline__ void operator()(const grouped::Tile& tile,
                                             const float (&d)[Registers]) const {
    const grouped::ThreadPlace place;
    const int first_column = tile.column_tile * 2 * Registers;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int slot = place.row + 8 * r;
      Out* const to =
          slot < tile.slots ? out + (std::int64_t{tile.first_slot} + slot) * stride : nullptr;
#pragma unroll
      for (int i = 0; i < Registers; i += 16) {
        store(to, d + i + 2 * r, first_column + i * 2, place.lane % 4, cols, accumulate);
      }
    }
  }
};

template <typename T>
cudaError_t launch(const GroupedGemmParams& p, cudaStream_t stream) {
  if (p.out_type == Type::bf16) {
    const Store<bf16> store{static_cast<bf16*>(p.out), p.out_stride, p.cols, false};
    return grouped::launch<T>(p, store, stream);
  }
  const Store<float> store{static_cast<float*>(p.out), p.out_stride, p.cols, p.accumulate};
  return grouped::launch<T>(p, store, stream);
}

}  // namespace

cudaError_t make_grouped_weight(const void* data, const float* scales, Type type, int cols,
                                int depth, GroupedWeight* weight) {
  static_assert(sizeof(TensorMap) == sizeof(weight->map));
  weight->scales = scales;
  const int box_rows =
      type == Type::e4m3 ? grouped::Shape<__nv_fp8_e4m3>::kCols : grouped::Shape<bf16>::kCols;
  return make_tensor_map(data, type, cols, depth, depth, box_rows, weight->map);
}

bool grouped_gemm_applies(const GroupedGemmParams& p) {
  if (p.type != Type::bf16 && p.type != Type::e4m3) return false;
  if (p.out_type != Type::bf16 && p.out_type != Type::f32) return false;
  if (p.accumulate && p.out_type != Type::f32) return false;
  const std::int64_t size = p.type == Type::bf16 ? 2 : 1,
                     out_size = p.out_type == Type::bf16 ? 2 : 4;
  const std::int64_t tiles = (p.slots / grouped::kTileSlots + p.groups) * ceil_div(p.cols, 128);
  return p.groups >= 1 && p.slots <= INT32_MAX / 2 && tiles <= INT32_MAX / 2 && p.depth > 0 &&
         p.cols % 8 == 0 && p.depth * size % 16 == 0 && whole_chunks(p.x, p.x_stride * size) &&
         whole_chunks(p.out, p.out_stride * out_size) && has_warpgroups();
}

cudaError_t grouped_gemm(const GroupedGemmParams& params, cudaStream_t stream) {
  if (params.slots == 0 || params.cols == 0) return cudaSuccess;
  if (!grouped_gemm_applies(params)) return cudaErrorInvalidValue;
  return params.type == Type::bf16 ? launch<bf16>(params, stream)
                                   : launch<__nv_fp8_e4m3>(params, stream);
}

}  // namespace indexcache::kernels
