// SPDX-License-Identifier: Apache-2.0
// Matrices as the tensor memory accelerator of Hopper reads them: in boxes of rows of 128 bytes,
// which lie in shared memory as wgmma.cuh's swizzled_operand() expects them.
#pragma once

#include "kernels/common.cuh"

#include <cuda.h>

namespace indexcache::kernels {

using TensorMap = CUtensorMap;

constexpr int kBoxRowBytes = 128;

// `map` becomes `whole` with other rows: `rows` of them, from the address `first` on. The thread
// releases it afterwards.
__device__ inline void make_map_of_rows(TensorMap* map, const TensorMap& whole, const void* first,
                                        int rows) {
  *map = whole;
  asm volatile("tensormap.replace.tile.global_address.global.b1024.b64 [%0], %1;" ::"l"(map),
               "l"(first)
               : "memory");
  asm volatile("tensormap.replace.tile.global_dim.global.b1024.b32 [%0], 1, %1;" ::"l"(map),
               "r"(rows)
               : "memory");
}

// Maps that this thread made can be acquired by kernels that begin later.
__device__ inline void release_tensor_maps() {
  asm volatile("fence.proxy.tensormap::generic.release.gpu;" ::: "memory");
}

// The host or an earlier kernel wrote the map; the accelerator reads it through a proxy of its own.
__device__ inline void acquire_tensor_map(const void* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory");
}

// Begins the copy of a box of rows from `row` on, 128 bytes from column `depth` on; what is beyond
// the matrix is zero.
__device__ inline void copy_box(std::uint32_t to, const void* map, int depth, int row,
                                std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(map), "r"(depth), "r"(row), "r"(barrier)
      : "memory");
}

using EncodeTensorMap = decltype(&cuTensorMapEncodeTiled);

// The driver's function; null if it has none.
inline EncodeTensorMap find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                              12000, cudaEnableDefault, &found);
  return status == cudaSuccess && found == cudaDriverEntryPointSuccess
             ? reinterpret_cast<EncodeTensorMap>(function)
             : nullptr;
}

// Of [rows, depth] of `type`, `stride` elements apart, in boxes of `box_rows` rows.
inline cudaError_t make_tensor_map(const void* data, Type type, std::int64_t rows, int depth,
                                   std::int64_t stride, int box_rows, void* map) {
  const EncodeTensorMap encode = find_encoder();
  if (encode == nullptr) return cudaErrorNotSupported;
  const bool bytes = type == Type::e4m3;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(depth), static_cast<cuuint64_t>(rows)};
  const cuuint64_t row_bytes[] = {static_cast<cuuint64_t>(stride) * (bytes ? 1 : 2)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(bytes ? kBoxRowBytes : kBoxRowBytes / 2),
                            static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult result =
      encode(static_cast<CUtensorMap*>(map),
             bytes ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
             const_cast<void*>(data), sizes, row_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace indexcache::kernels
