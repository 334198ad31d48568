// SPDX-License-Identifier: Apache-2.0
// Epilogues of grouped products that write the results, or SwiGLU of them.
#pragma once

#include "kernels/eight.cuh"
#include "kernels/grouped_gemm_sm90.cuh"
#include "kernels/silu.cuh"

namespace indexcache::kernels::grouped {

// The thread's eight columns of a slot, of which registers 4 j and 4 j + 1 are the j-th two.
__device__ inline void write_eight(bf16* to, const float* from, bool) {
  float eight[kEight];
#pragma unroll
  for (int i = 0; i < kEight; ++i) eight[i] = from[i / 2 * 4 + i % 2];
  store_eight(to, eight);
}

__device__ inline void write_eight(float* to, const float* from, bool accumulate) {
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    auto& four = reinterpret_cast<float4*>(to)[j / 2];
    const float4 before = accumulate ? four : make_float4(0, 0, 0, 0);
    four = make_float4(before.x + from[4 * j], before.y + from[4 * j + 1],
                       before.z + from[4 * j + 4], before.w + from[4 * j + 5]);
  }
}

// Writes the results.
template <typename Out>
struct Store {
  static constexpr bool kOrdered = true;

  Out* out;
  std::int64_t stride;
  int cols;
  bool accumulate;

  template <int Registers>
  __device__ __forceinline__ void operator()(const Tile& tile, const float (&d)[Registers]) const {
    const Rows to = rows_of(tile, tile.column_tile * 2 * Registers);
#pragma unroll
    for (int i = 0; i < Registers; i += 16) write(to, 2 * i, d + i);
  }

  template <int Slots, int Registers>
  __device__ __forceinline__ void few(const Tile& tile, int first_slot,
                                      const float (&d)[Registers]) const {
    const int first_column = tile.column_tile * (Registers / Slots * kColumnBox);
#pragma unroll
    for (int i = 0; i < Registers; i += Slots) {
#pragma unroll
      for (int slot = 0; slot < Slots; slot += 8) {
        const float* const even = d + i + slot / 2;
        write_slots(tile, first_slot + slot, first_column + i / Slots * kColumnBox, even,
                    even + Slots / 2);
      }
    }
  }

  // Where the thread's two slots are written, from its eight of 32 columns on.
  struct Rows {
    Out* of[2];
    bool present[2];
    int columns;  // from there to the end of the row
  };

  __device__ __forceinline__ Rows rows_of(const Tile& tile, int first_column) const {
    const ThreadPlace place;
    const int at = first_column + place.lane % 4 * kEight;
    Out* const first = out + (std::int64_t{tile.first_slot} + place.row) * stride + at;
    return {{first, first + 8 * stride},
            {place.row < tile.slots, place.row + 8 < tile.slots},
            cols - at};
  }

  // The thread's eight of the 32 columns from `column` on, of both slots: 16 registers.
  __device__ __forceinline__ void write(const Rows& to, int column, const float* d) const {
    if (column >= to.columns) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (to.present[r]) write_eight(to.of[r] + column, d + 2 * r, accumulate);
    }
  }

  // Eight slots from `slot` on, of kColumnBox columns: four registers of even eights of places and
  // four of odd ones. A warp has 32 columns.
  __device__ __forceinline__ void write_slots(const Tile& tile, int slot, int column,
                                              const float* even, const float* odd) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int own = column + static_cast<int>(threadIdx.x) / kWarp % 4 * kOrderedColumns;
    if constexpr (sizeof(Out) == 2) {
      const uint4 eight = {
          transpose_matrix(pack(even[0], even[1])), transpose_matrix(pack(odd[0], odd[1])),
          transpose_matrix(pack(even[2], even[3])), transpose_matrix(pack(odd[2], odd[3]))};
      const int at = own + lane % 4 * kEight;
      Out* const to = row_of(tile, slot + lane / 4);
      if (to != nullptr && at < cols) *reinterpret_cast<uint4*>(to + at) = eight;
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int eight = i % 4 / 2 * 2 + i / 4;
        const int at = own + lane / 8 * kEight + eight * 2 + lane / 4 % 2;
        Out* const to = row_of(tile, slot + lane % 4 * 2 + i % 2);
        if (to == nullptr || at >= cols) continue;
        to[at] = (accumulate ? to[at] : 0) + (i < 4 ? even : odd)[i % 4];
      }
    }
  }

 private:
  __device__ Out* row_of(const Tile& tile, int slot) const {
    return slot < tile.slots ? out + (std::int64_t{tile.first_slot} + slot) * stride : nullptr;
  }
};

// Writes SwiGLU: the first half of a tile's columns is `gate`, the other is `up`.
struct StoreGated {
  static constexpr bool kOrdered = true;

  Store<bf16> store;
  float limit;

  template <int Registers>
  __device__ __forceinline__ void operator()(const Tile& tile, const float (&d)[Registers]) const {
    const auto to = store.rows_of(tile, tile.column_tile * Registers);
#pragma unroll
    for (int i = 0; i < Registers / 2; i += 16) {
      float gated[16];
#pragma unroll
      for (int j = 0; j < 16; j += kEight) {
        swiglu(gated + j, d + i + j, d + Registers / 2 + i + j,
               [&](int register_) { return to.present[register_ / 2 % 2]; });
      }
      store.write(to, 2 * i, gated);
    }
  }

  template <int Slots>
  __device__ __forceinline__ void few(const Tile& tile, int first_slot,
                                      const float (&d)[2 * Slots]) const {
#pragma unroll
    for (int slot = 0; slot < Slots; slot += 8) {
      const int own = first_slot + slot + static_cast<int>(threadIdx.x) % 4 * 2;
      const bool present[2] = {own < tile.slots, own + 1 < tile.slots};
      float gate[kEight], up[kEight], gated[kEight];
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        gate[i] = d[i / 4 * (Slots / 2) + slot / 2 + i % 4];
        up[i] = d[Slots + i / 4 * (Slots / 2) + slot / 2 + i % 4];
      }
      swiglu(gated, gate, up, [&](int register_) { return present[register_ % 2]; });
      store.write_slots(tile, first_slot + slot, tile.column_tile * kColumnBox, gated, gated + 4);
    }
  }

 private:
  // Of eight results. Slots that are not there get a gate for which no branch is needed (silu.cuh).
  template <typename Present>
  __device__ __forceinline__ void swiglu(float* out, const float* gate, const float* up,
                                         const Present& is_present) const {
    float gates[kEight], ups[kEight];
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      gates[i] = is_present(i) ? gate[i] : 1.0f;
      ups[i] = up[i];
    }
    round_eight<bf16>(gates);
    round_eight<bf16>(ups);
    silu_times(gates, ups, limit);
#pragma unroll
    for (int i = 0; i < kEight; ++i) out[i] = gates[i];
  }
};

}  // namespace indexcache::kernels::grouped
