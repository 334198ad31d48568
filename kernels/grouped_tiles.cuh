// SPDX-License-Identifier: Apache-2.0
// The tiles of a grouped product (grouped_gemm.h), in the order in which blocks take them.
//
// The slots of a group are divided into parts of kPartSlots, which its tiles share evenly: the
// first ones have at most one part more than the others. If all tiles but the last were as large as
// possible, the last would read a weight for few slots. Tiles that share columns of a weight follow
// each other, so that they are under way at nearly the same time and only the first one reads the
// weight from memory. Tiles of a group come in bands of kBand tiles of slots, all columns of a band
// one after the other, so that what the blocks read at a time fits in the L2.
#pragma once

#include "kernels/common.cuh"
#include "kernels/grouped_gemm.h"
#include "kernels/tensor_map.cuh"

namespace indexcache::kernels::grouped {

constexpr int kPartSlots = 64;
constexpr int kTileSlots = 3 * kPartSlots;  // at most
constexpr int kBand = 16;                   // tiles of slots

struct alignas(16) Tile {
  int group;              // negative: there are no more tiles
  int first_slot, slots;  // of all groups
  int column_tile;
  const float* scales;  // e4m3: of the weight's columns, one per 128 of depth; else null
  int first_row;        // first_slot, counted from the first slot of the group
};

static_assert(grouped_gemm_scratch(1) * 4 == 2 * sizeof(TensorMap) + 5 * sizeof(int));

// In scratch memory.
struct Groups {
  TensorMap* x;                  // [groups]: x of a group's slots, and zero beyond them
  TensorMap* weight;             // [groups]: columns in the order of grouped_columns.cuh, or not
  int *first_tile, *first_slot;  // [groups + 1]: where they begin, in tiles of slots and in slots
  int* taken;                    // number of tiles that blocks have taken
};

__device__ inline Groups groups_of(const GroupedGemmParams& p) {
  auto* const maps = reinterpret_cast<TensorMap*>(p.scratch);
  int* const first_tile = reinterpret_cast<int*>(maps + 2 * p.groups);
  int* const first_slot = first_tile + p.groups + 1;
  return {maps, maps + p.groups, first_tile, first_slot, first_slot + p.groups + 1};
}

// A warp finds where groups begin, and makes the maps of x of those that have slots.
__device__ inline void find_groups(const GroupedGemmParams& p, const TensorMap& x) {
  const Groups to = groups_of(p);
  const std::int64_t row_bytes = p.x_stride * (p.type == Type::bf16 ? 2 : 1);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int tiles = 0, slots = 0;
  for (int begin = 0; begin < p.groups; begin += kWarp) {
    const int group = begin + lane;
    int count = 0;
    if (group < p.groups) count = p.counts == nullptr ? static_cast<int>(p.slots) : p.counts[group];
    const int own = (count + kTileSlots - 1) / kTileSlots;
    int tiles_through = own, slots_through = count;
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int a = __shfl_up_sync(kAllLanes, tiles_through, offset);
      const int b = __shfl_up_sync(kAllLanes, slots_through, offset);
      if (lane >= offset) tiles_through += a, slots_through += b;
    }
    if (group < p.groups) {
      const int first = slots + slots_through - count;
      to.first_tile[group] = tiles + tiles_through - own;
      to.first_slot[group] = first;
      if (count > 0) {
        make_map_of_rows(&to.x[group], x, static_cast<const char*>(p.x) + first * row_bytes, count);
      }
    }
    tiles += __shfl_sync(kAllLanes, tiles_through, kWarp - 1);
    slots += __shfl_sync(kAllLanes, slots_through, kWarp - 1);
  }
  if (lane == 0) {
    to.first_tile[p.groups] = tiles;
    to.first_slot[p.groups] = slots;
  }
}

// Two warps make what is in scratch memory. No tile is taken yet. `x` is of all slots, `weight` of
// any group.
static __global__ void find_groups_kernel(const __grid_constant__ GroupedGemmParams p,
                                          const __grid_constant__ TensorMap x,
                                          const __grid_constant__ TensorMap weight) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const Groups to = groups_of(p);
  if (threadIdx.x < kWarp) {
    find_groups(p, x);
  } else {
    const int first = static_cast<int>(threadIdx.x) - kWarp;
    if (first == 0) *to.taken = 0;
    for (int group = first; group < p.groups; group += kWarp) {
      make_map_at(&to.weight[group], weight, p.weights[group].data);
    }
  }
  release_tensor_maps();
#endif
}

// The i-th tile of the launch.
__device__ inline Tile find_tile(const GroupedGemmParams& p, const Groups& groups, int column_tiles,
                                 int i) {
  int low = 0, high = p.groups - 1;  // the last group that begins at or before the tile
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (groups.first_tile[middle] * column_tiles <= i) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const int first_tile = groups.first_tile[low], first_slot = groups.first_slot[low];
  const int slot_tiles = groups.first_tile[low + 1] - first_tile;
  const int slots = groups.first_slot[low + 1] - first_slot;
  const int within = i - first_tile * column_tiles;
  const int band = within / (kBand * column_tiles);
  const int height = min(kBand, slot_tiles - band * kBand);
  const int rest = within - band * kBand * column_tiles;
  const int tile = band * kBand + rest % height;
  const int parts = (slots + kPartSlots - 1) / kPartSlots;
  const int least = parts / slot_tiles, longer = parts % slot_tiles;  // the first tiles are
  const int begin = (tile * least + min(tile, longer)) * kPartSlots;
  const int own = (least + (tile < longer ? 1 : 0)) * kPartSlots;
  return {low, first_slot + begin, min(own, slots - begin), rest / height, nullptr, begin};
}

}  // namespace indexcache::kernels::grouped
