// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_gemm_sm90.cuh"
#include "kernels/grouped_store.cuh"

namespace indexcache::kernels {
namespace {

using grouped::Store;
using grouped::StoreGated;

template <typename T>
cudaError_t launch(const GroupedGemmParams& p, cudaStream_t stream) {
  if constexpr (!grouped::Shape<T>::kScaled) {
    if (p.gated) {
      const StoreGated store{{static_cast<bf16*>(p.out), p.out_stride, p.cols / 2, false}, p.limit};
      return grouped::launch<T>(p, store, stream);
    }
  }
  if (p.out_type == Type::bf16) {
    const Store<bf16> store{static_cast<bf16*>(p.out), p.out_stride, p.cols, false};
    return grouped::launch<T>(p, store, stream);
  }
  const Store<float> store{static_cast<float*>(p.out), p.out_stride, p.cols, p.accumulate};
  return grouped::launch<T>(p, store, stream);
}

}  // namespace

bool grouped_gemm_applies(const GroupedGemmParams& p) {
  if (p.type != Type::bf16 && p.type != Type::e4m3) return false;
  if (p.out_type != Type::bf16 && p.out_type != Type::f32) return false;
  if (p.accumulate && p.out_type != Type::f32) return false;
  if (p.gated && (p.type != Type::bf16 || p.out_type != Type::bf16 || p.cols % 16 != 0)) {
    return false;
  }
  const std::int64_t size = p.type == Type::bf16 ? 2 : 1,
                     out_size = p.out_type == Type::bf16 ? 2 : 4;
  const std::int64_t tiles = (p.slots / grouped::kTileSlots + p.groups) * ceil_div(p.cols, 128);
  return p.groups >= 1 && p.slots <= INT32_MAX / 2 && tiles <= INT32_MAX / 2 && p.depth > 0 &&
         p.cols % 8 == 0 && p.depth * size % 16 == 0 && whole_chunks(p.x, p.x_stride * size) &&
         whole_chunks(p.out, p.out_stride * out_size) &&
         reinterpret_cast<std::uintptr_t>(p.scratch) % sizeof(TensorMap) == 0 && has_warpgroups();
}

cudaError_t grouped_gemm(const GroupedGemmParams& params, cudaStream_t stream) {
  if (params.slots == 0 || params.cols == 0) return cudaSuccess;
  if (!grouped_gemm_applies(params)) return cudaErrorInvalidValue;
  return params.type == Type::bf16 ? launch<bf16>(params, stream)
                                   : launch<__nv_fp8_e4m3>(params, stream);
}

}  // namespace indexcache::kernels
