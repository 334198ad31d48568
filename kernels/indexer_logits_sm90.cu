// SPDX-License-Identifier: Apache-2.0
// Scores of all candidates on Hopper (indexer_logits_sm90.cuh).
#include "kernels/architecture.h"
#include "kernels/indexer_logits_sm90.cuh"
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

template <typename T, int Heads>
cudaError_t launch(const IndexerLogitsParams& p, cudaStream_t stream) {
  const auto kernel = logits_sm90_kernel<T, Heads>;
  constexpr int kBytes = Shape<T, Heads, IndexerLogitsParams>::kBytes;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  kernel<<<static_cast<unsigned>(multiprocessors()), kThreads, kBytes, stream>>>(p);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch(const IndexerLogitsParams& p, cudaStream_t stream) {
  if (p.heads == 16) return launch<T, 16>(p, stream);
  if (p.heads == 32) return launch<T, 32>(p, stream);
  return launch<T, 64>(p, stream);
}

}  // namespace

bool indexer_logits_sm90_applies(const IndexerLogitsParams& params) {
  if (params.width != kWidth || params.type == Type::f32) return false;
  if (params.heads != 16 && params.heads != 32 && params.heads != 64) return false;
  if (reinterpret_cast<std::uintptr_t>(params.head_weights) % 16 != 0) return false;
  return has_warpgroups();
}

cudaError_t indexer_logits_sm90(const IndexerLogitsParams& params, cudaStream_t stream) {
  if (!indexer_logits_sm90_applies(params)) return cudaErrorInvalidValue;
  if (params.type == Type::bf16) return launch<bf16>(params, stream);
  return launch<__nv_fp8_e4m3>(params, stream);
}

}  // namespace indexcache::kernels
