// SPDX-License-Identifier: Apache-2.0
// Matrices as the tensor memory accelerator of Hopper reads them: in boxes of rows of 128 bytes,
// which lie in shared memory as wgmma.cuh's swizzled_operand() expects them.
#pragma once

#include "kernels/common.cuh"

#include <cuda.h>

namespace indexcache::kernels {

using TensorMap = CUtensorMap;

constexpr int kBoxRowBytes = 128;

// `map` becomes `whole` at another address. The thread releases it afterwards.
__device__ inline void make_map_at(TensorMap* map, const TensorMap& whole, const void* first) {
  *map = whole;
  asm volatile("tensormap.replace.tile.global_address.global.b1024.b64 [%0], %1;" ::"l"(map),
               "l"(first)
               : "memory");
}

// The same with a number of rows, if `whole` has only that dimension of them.
__device__ inline void make_map_of_rows(TensorMap* map, const TensorMap& whole, const void* first,
                                        int rows) {
  make_map_at(map, whole, first);
  asm volatile("tensormap.replace.tile.global_dim.global.b1024.b32 [%0], 1, %1;" ::"l"(map),
               "r"(rows)
               : "memory");
}

// Maps that this thread made can be acquired by kernels that begin later.
__device__ inline void release_tensor_maps() {
  asm volatile("fence.proxy.tensormap::generic.release.gpu;" ::: "memory");
}

// An earlier kernel wrote the map; the accelerator reads it through a proxy of its own.
__device__ inline void acquire_tensor_map(const void* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory");
}

// Begins the copy of a box: of 128 bytes from column `depth` on, of rows from `row` on in each of
// their dimensions. What is beyond the matrix is zero.
__device__ inline void copy_box(std::uint32_t to, const void* map, std::uint32_t barrier, int depth,
                                int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(depth), "r"(row)
      : "memory");
}

__device__ inline void copy_box(std::uint32_t to, const void* map, std::uint32_t barrier, int depth,
                                int row0, int row1, int row2) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(depth), "r"(row0), "r"(row1), "r"(row2)
      : "memory");
}

__device__ inline void copy_box(std::uint32_t to, const void* map, std::uint32_t barrier, int depth,
                                int row0, int row1, int row2, int row3) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(depth), "r"(row0), "r"(row1), "r"(row2), "r"(row3)
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

// A dimension of a matrix's rows: how many there are, how many rows one is from the next, and how
// many are in a box.
struct RowDimension {
  std::int64_t size, stride;
  int box;
};

// Of rows of `depth` elements of `type`, `stride` elements apart, as one to four dimensions, of
// which the first changes fastest within a box.
template <int kDimensions>
cudaError_t make_tensor_map(EncodeTensorMap encode, const void* data, Type type, int depth,
                            std::int64_t stride, const RowDimension (&rows)[kDimensions],
                            TensorMap* map) {
  const int element = type == Type::e4m3 ? 1 : 2;
  cuuint64_t sizes[kDimensions + 1] = {static_cast<cuuint64_t>(depth)}, strides[kDimensions];
  cuuint32_t box[kDimensions + 1] = {static_cast<cuuint32_t>(kBoxRowBytes / element)};
  cuuint32_t steps[kDimensions + 1] = {1};
  for (int i = 0; i < kDimensions; ++i) {
    strides[i] = static_cast<cuuint64_t>(rows[i].stride * stride * element);
    sizes[i + 1] = static_cast<cuuint64_t>(rows[i].size);
    box[i + 1] = static_cast<cuuint32_t>(rows[i].box);
    steps[i + 1] = 1;
  }
  const CUresult result =
      encode(map, element == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
             kDimensions + 1, const_cast<void*>(data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace indexcache::kernels
