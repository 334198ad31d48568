// SPDX-License-Identifier: Apache-2.0
// Scores of all candidates on Hopper (indexer_logits_sm90.cuh).
#include "kernels/logits_sm90_launch.cuh"
#include "kernels/tile_shares.cuh"

namespace indexcache::kernels {
namespace {

using namespace logits_sm90;

// A block's share of all tiles, by groups of consecutive queries.
template <class S>
struct SegmentWork {
  using Tiles = TileWork<S::kQueries, kKeys>;

  const Tiles& tiles;
  const TileShare& share;

  template <typename Body>
  __device__ void for_pieces(const Body& body) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    tiles.for_pieces(share, [&](const KeySegment& segment, int first_query, int first, int count) {
      const int last = Tiles::last_row(segment, first_query);
      const int query = min(first_query + lane, last);
      Piece piece;
      piece.tiles = count;
      piece.first_tile = first;
      piece.first_key = segment.key_base;
      piece.keys = segment.candidates(last);
      const int limit = first_query + lane <= last ? segment.candidates(query) : 0;
      body(piece, LaneQuery{segment.first_row + query, limit, 0});
    });
  }
};

template <typename T, int Heads>
__global__ void __launch_bounds__(kThreads, 1)
    logits_sm90_kernel(const __grid_constant__ IndexerLogitsParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using S = Shape<T, Heads, IndexerLogitsParams>;
  extern __shared__ char dynamic[];
  __shared__ TileShare share;
  __shared__ long long warp_sums[kWarp];
  const Memory<S> memory = memory_of<S>(dynamic);
  const TileWork<S::kQueries, kKeys> tiles{p.segments, p.segment_count, p.most_rows};
  if (threadIdx.x == 0) make_barriers(memory);
  tiles.find_share(&share, warp_sums);
  __syncthreads();
  run_block<S>(p, SegmentWork<S>{tiles, share}, memory);
#endif
}

struct Kernels {
  template <typename T, int Heads>
  static auto get() {
    return logits_sm90_kernel<T, Heads>;
  }
};

}  // namespace

bool indexer_logits_sm90_applies(const IndexerLogitsParams& params) {
  return is_aligned(params.head_weights) && takes(params.type, params.heads, params.width);
}

cudaError_t indexer_logits_sm90(const IndexerLogitsParams& params, cudaStream_t stream) {
  if (!indexer_logits_sm90_applies(params)) return cudaErrorInvalidValue;
  return launch<Kernels>(params, stream);
}

}  // namespace indexcache::kernels
