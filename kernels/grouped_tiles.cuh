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

namespace indexcache::kernels::grouped {

constexpr int kPartSlots = 64;
constexpr int kTileSlots = 3 * kPartSlots;  // at most
constexpr int kBand = 16;                   // tiles of slots

struct alignas(16) Tile {
  int group;              // negative: there are no more tiles
  int first_slot, slots;  // of all groups
  int column_tile;
  const float* scales;  // e4m3: of the weight's columns, one per 128 of depth; else null
};

// Where the groups begin, in tiles of slots and in slots: in scratch memory, behind the number of
// tiles taken.
struct Groups {
  const int *first_tile, *first_slot;  // [groups + 1]
};

__device__ inline Groups groups_of(const GroupedGemmParams& p) {
  return {p.scratch + 1, p.scratch + 1 + p.groups + 1};
}

// Prefix sums by one warp. No tile is taken.
static __global__ void find_groups_kernel(const __grid_constant__ GroupedGemmParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  int* const first_tile = p.scratch + 1;
  int* const first_slot = first_tile + p.groups + 1;
  const int lane = static_cast<int>(threadIdx.x);
  int tiles = 0, slots = 0;
  for (int first = 0; first < p.groups; first += kWarp) {
    const int group = first + lane;
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
      first_tile[group] = tiles + tiles_through - own;
      first_slot[group] = slots + slots_through - count;
    }
    tiles += __shfl_sync(kAllLanes, tiles_through, kWarp - 1);
    slots += __shfl_sync(kAllLanes, slots_through, kWarp - 1);
  }
  if (lane == 0) {
    p.scratch[0] = 0;
    first_tile[p.groups] = tiles;
    first_slot[p.groups] = slots;
  }
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
  return {low, first_slot + begin, min(own, slots - begin), rest / height, nullptr};
}

}  // namespace indexcache::kernels::grouped
