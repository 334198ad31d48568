// SPDX-License-Identifier: Apache-2.0
// Epilogues of grouped products that write the results, or SwiGLU of them.
#pragma once

#include "kernels/grouped_gemm_sm90.cuh"
#include "kernels/silu.cuh"

namespace indexcache::kernels::grouped {

__device__ inline void store_eight_columns(bf16* to, const std::uint32_t (&pairs)[4]) {
  *reinterpret_cast<uint4*>(to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// Of 32 columns of a slot from `column` on, a quad's lane has two of every eight: registers 4 j and
// 4 j + 1 are of the j-th eight. `to` is the slot's row, or null.
__device__ inline void store(bf16* to, const float* from, int column, int cols, bool) {
  const int quad_lane = static_cast<int>(threadIdx.x) % 4;
  std::uint32_t pairs[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) pairs[j] = pack(from[4 * j], from[4 * j + 1]);
  transpose_quad(pairs);
  if (to != nullptr && column + 8 * quad_lane < cols) {
    store_eight_columns(to + column + 8 * quad_lane, pairs);
  }
}

__device__ inline void store(float* to, const float* from, int column, int cols, bool accumulate) {
  const int quad_lane = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int at = column + 8 * j + 2 * quad_lane;
    if (to == nullptr || at >= cols) continue;
    auto& pair = *reinterpret_cast<float2*>(to + at);
    const float2 before = accumulate ? pair : make_float2(0, 0);
    pair = make_float2(before.x + from[4 * j], before.y + from[4 * j + 1]);
  }
}

// Writes the results.
template <typename Out>
struct Store {
  static constexpr bool kTakesFew = true;

  Out* out;
  std::int64_t stride;
  int cols;
  bool accumulate;

  template <int Registers>
  __device__ __forceinline__ void operator()(const Tile& tile, const float (&d)[Registers]) const {
    const int first_column = tile.column_tile * 2 * Registers;
#pragma unroll
    for (int i = 0; i < Registers; i += 16) store_columns(tile, d + i, first_column + 2 * i);
  }

  template <int Slots, int Registers>
  __device__ __forceinline__ void few(const Tile& tile, int first_slot,
                                      const float (&d)[Registers]) const {
    const int first_column = tile.column_tile * (Registers / Slots * 128);
#pragma unroll
    for (int i = 0; i < Registers; i += Slots) {
#pragma unroll
      for (int slot = 0; slot < Slots; slot += 8) {
        const float* const low = d + i + slot / 2;
        store_slots(tile, first_slot + slot, low, low + Slots / 2, first_column + i / Slots * 128);
      }
    }
  }

  // 32 columns of the thread's two slots, in 16 registers.
  __device__ __forceinline__ void store_columns(const Tile& tile, const float* d,
                                                int column) const {
    const ThreadPlace place;
    store(row_of(tile, place.row), d, column, cols, accumulate);
    store(row_of(tile, place.row + 8), d + 2, column, cols, accumulate);
  }

  // Eight slots from `slot` on, of 128 columns: four registers for 64 columns and four for the
  // others, in each of which warp w has those from 16 w on.
  __device__ __forceinline__ void store_slots(const Tile& tile, int slot, const float* low,
                                              const float* high, int column) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int own = column + static_cast<int>(threadIdx.x) / kWarp % 4 * 16;
    if constexpr (sizeof(Out) == 2) {
      // Eight columns each, from own, + 8, + 64 and + 72.
      std::uint32_t pairs[4] = {
          transpose_matrix(pack(low[0], low[1])), transpose_matrix(pack(low[2], low[3])),
          transpose_matrix(pack(high[0], high[1])), transpose_matrix(pack(high[2], high[3]))};
      transpose_quad(pairs);
      const int at = own + lane % 4 / 2 * 64 + lane % 2 * 8;
      Out* const to = row_of(tile, slot + lane / 4);
      if (to != nullptr && at < cols) store_eight_columns(to + at, pairs);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int at = own + i / 4 * 64 + i % 4 / 2 * 8 + lane / 4;
        Out* const to = row_of(tile, slot + lane % 4 * 2 + i % 2);
        if (to == nullptr || at >= cols) continue;
        to[at] = (accumulate ? to[at] : 0) + (i < 4 ? low : high)[i % 4];
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
  static constexpr bool kTakesFew = true;

  Store<bf16> store;
  float limit;

  template <int Registers>
  __device__ __forceinline__ void operator()(const Tile& tile, const float (&d)[Registers]) const {
    const ThreadPlace place;
    const bool present[2] = {place.row < tile.slots, place.row + 8 < tile.slots};
    const int first_column = tile.column_tile * Registers;
#pragma unroll
    for (int i = 0; i < Registers / 2; i += 16) {
      float gated[16];
#pragma unroll
      for (int j = 0; j < 16; j += kEight) {
        swiglu(gated + j, d + i + j, d + Registers / 2 + i + j,
               [&](int register_) { return present[register_ / 2 % 2]; });
      }
      store.store_columns(tile, gated, first_column + 2 * i);
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
      store.store_slots(tile, first_slot + slot, gated, gated + 4, tile.column_tile * 128);
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
