// SPDX-License-Identifier: Apache-2.0
// The order in which columns of a grouped product, which are rows of the weight, lie in shared
// memory.
//
// Lane t of a quad has columns 2 t and 2 t + 1 of every eight of an accumulator (wgmma.cuh). To
// write 16 bytes at a time, it should have eight consecutive columns. So the tensor memory
// accelerator copies row 8 t + 2 j + e of every 32 rows to place 8 j + 2 t + e, for which it needs
// only another map: what the lane has of the j-th eight places are the j-th two of its columns.
// (When lanes exchanged results of columns in their own order instead, writing a tile took 744
// instructions of a warp in bf16, and now takes 215.)
#pragma once

#include "kernels/grouped_gemm.h"
#include "kernels/tensor_map.cuh"

namespace indexcache::kernels::grouped {

constexpr int kColumnBox = 128;      // columns that are copied at once, or by one loop
constexpr int kOrderedColumns = 32;  // columns that change places with each other

// A copy of 128 columns counts 32s of columns in a dimension of its own, so that all of them must
// be whole, those of `gate` and of `up` as well. If they are not, 32 columns are copied at a time.
__host__ __device__ inline bool copies_whole_boxes(const GroupedGemmParams& p) {
  return (p.gated ? p.cols / 2 : p.cols) % kOrderedColumns == 0;
}

// find_groups_kernel() puts the address of each group's weight in; p.x only stands for it. The
// strides of rows do not grow from one dimension to the next, as those in the documentation of
// cuTensorMapEncodeTiled do; they are multiples of 16 bytes, which is what it asks for.
template <bool kOrdered>
cudaError_t make_columns_map(EncodeTensorMap encode, const GroupedGemmParams& p, TensorMap* map) {
  const RowDimension two{2, 1, 2}, four_twos{4, 2, 4};
  const RowDimension in_order[] = {{p.cols, 1, kColumnBox}};
  const RowDimension whole[] = {
      two, {4, 8, 4}, four_twos, {p.cols / kOrderedColumns, kOrderedColumns, 4}};
  const RowDimension of_32[] = {two, {p.cols / 8, 8, 4}, four_twos};
  const auto make = [&](const auto& rows) {
    return make_tensor_map(encode, p.x, p.type, p.depth, p.depth, rows, map);
  };
  if (!kOrdered) return make(in_order);
  return copies_whole_boxes(p) ? make(whole) : make(of_32);
}

// Begins the copy of kColumnBox columns from `column` on, and of 128 bytes of their depth.
template <bool kOrdered>
__device__ __forceinline__ void copy_columns(std::uint32_t to, const void* map, int depth,
                                             int column, bool whole_box, std::uint32_t barrier) {
  if constexpr (!kOrdered) {
    copy_box(to, map, barrier, depth, column);
  } else if (whole_box) {
    copy_box(to, map, barrier, depth, 0, 0, 0, column / kOrderedColumns);
  } else {
#pragma unroll 1
    for (int i = 0; i < kColumnBox; i += kOrderedColumns) {
      copy_box(to + static_cast<std::uint32_t>(i * kBoxRowBytes), map, barrier, depth, 0,
               (column + i) / 8, 0);
    }
  }
}

}  // namespace indexcache::kernels::grouped
