// SPDX-License-Identifier: Apache-2.0
// Top-k of few long rows on Hopper: a cluster of two to eight blocks per row.
#include "kernels/architecture.h"
#include "kernels/top_k_stream.cuh"

namespace indexcache::kernels {
namespace {

constexpr int kMostPeers = 8;
constexpr std::int64_t kLeastPart = 8192;  // candidates of a block

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
struct Cluster {
  __device__ int rank() const {
    int rank = 0;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
  }
  __device__ int size() const {
    int size = 0;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return size;
  }
  // Orders accesses like __syncthreads(), for all threads of the cluster.
  __device__ void sync() const {
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
  }
  template <typename T>
  __device__ const T* of(const T* shared, int peer) const {
    const T* there = nullptr;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(shared), "r"(peer));
    return there;
  }
};
#endif

__global__ void __launch_bounds__(LongRows::kThreads) cluster_kernel(TopKParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(16) char memory[];
  const Cluster cluster;
  auto& shared = *reinterpret_cast<LongRows*>(memory);
  const std::int64_t index = blockIdx.x / cluster.size();
  const int k = static_cast<int>(p.k);
  std::int32_t* out = p.sets + index * p.sets_stride;
  const Row row{p.scores + index * p.stride, candidates_of(p, index)};
  if (row.candidates > k) {
    const bool all = row.candidates <= LongRows::kCapacity;
    const Gate gate = all ? open_gate() : guess(shared.chooser, row, k).gate;
    select_listed(shared, row, k, cluster, gate, out);
  } else if (cluster.rank() == 0) {
    write_all(out, row.candidates, k);
  }
#endif
}

// Blocks per row, of which half of the multiprocessors get one: 1 for more rows, or short ones.
int peers_of(const TopKParams& params) {
  const std::int64_t wanted = multiprocessors() / 2;
  int peers = 1;
  while (peers < kMostPeers && 2 * peers * params.rows <= wanted &&
         2 * peers * kLeastPart <= params.longest) {
    peers *= 2;
  }
  return peers;
}

}  // namespace

bool top_k_sm90_applies(const TopKParams& params) {
  return params.k <= LongRows::kMost && peers_of(params) > 1 && has_warpgroups();
}

cudaError_t top_k_sm90(const TopKParams& params, cudaStream_t stream) {
  if (!top_k_sm90_applies(params)) return cudaErrorInvalidValue;
  const cudaError_t status =
      cudaFuncSetAttribute(cluster_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(sizeof(LongRows)));
  if (status != cudaSuccess) return status;
  const auto peers = static_cast<unsigned>(peers_of(params));
  cudaLaunchAttribute shape{};
  shape.id = cudaLaunchAttributeClusterDimension;
  shape.val.clusterDim.x = peers;
  shape.val.clusterDim.y = 1;
  shape.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(params.rows) * peers);
  config.blockDim = dim3(LongRows::kThreads);
  config.dynamicSmemBytes = sizeof(LongRows);
  config.stream = stream;
  config.attrs = &shape;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, cluster_kernel, params);
}

}  // namespace indexcache::kernels
