// SPDX-License-Identifier: Apache-2.0
// Scores of chosen candidates on Hopper (indexer_logits_sm90.cuh): a group of pairs is a piece.
//
// The bound: products of 4 queries of 64 heads with a block of 128 keys read 32 KiB of queries and
// 16 KiB of keys, 175 operations per byte, from the L2 if the queries of a launch fit there.
#include "kernels/candidate_logits.h"
#include "kernels/logits_sm90_launch.cuh"

namespace indexcache::kernels {
namespace {

using namespace logits_sm90;

// A block's share of the groups: consecutive ones, as many as of other blocks.
template <class S>
struct PairWork {
  const CandidatePair* pairs;
  int begin, end;  // groups

  // A lane reads its pair of the next group while the present one is under way.
  template <typename Body>
  __device__ void for_pieces(const Body& body) const {
    if (begin >= end) return;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const auto* own = reinterpret_cast<const int4*>(pairs) + min(lane, S::kQueries - 1);
    int4 next = own[std::int64_t{begin} * S::kQueries];
    for (int group = begin; group < end; ++group) {
      const CandidatePair pair{next.x, next.y, next.z, next.w};
      if (group + 1 < end) next = own[std::int64_t{group + 1} * S::kQueries];
      Piece piece;
      piece.keys = __reduce_max_sync(kAllLanes, pair.keys);
      piece.first_key = pair.first_key;
      piece.first_tile = 0;
      piece.tiles = (piece.keys + kKeys - 1) / kKeys;
      body(piece, LaneQuery{pair.row, pair.keys, pair.column});
    }
  }
};

template <typename T, int Heads>
__global__ void __launch_bounds__(kThreads, 1)
    candidates_sm90_kernel(const __grid_constant__ CandidateLogitsParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using S = Shape<T, Heads, CandidateLogitsParams>;
  extern __shared__ char dynamic[];
  const Memory<S> memory = memory_of<S>(dynamic);
  const auto share_end = [&](unsigned block) {
    return static_cast<int>(std::int64_t{*p.groups} * block / gridDim.x);
  };
  const PairWork<S> work{p.pairs, share_end(blockIdx.x), share_end(blockIdx.x + 1)};
  if (threadIdx.x == 0) make_barriers(memory);
  __syncthreads();
  run_block<S>(p, work, memory);
#endif
}

struct Kernels {
  template <typename T, int Heads>
  static auto get() {
    return candidates_sm90_kernel<T, Heads>;
  }
};

}  // namespace

bool candidate_logits_sm90_applies(Type type, int heads, int width) {
  return takes(type, heads, width);
}

int candidate_group_sm90(int heads) {
  return kColumns / heads;
}

cudaError_t candidate_logits_sm90(const CandidateLogitsParams& params, cudaStream_t stream) {
  if (!takes(params.type, params.heads, params.width) || !is_aligned(params.head_weights)) {
    return cudaErrorInvalidValue;
  }
  return launch<Kernels>(params, stream);
}

}  // namespace indexcache::kernels
