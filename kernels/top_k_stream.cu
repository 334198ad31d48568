// SPDX-License-Identifier: Apache-2.0
// Top-k of long rows, one block per row: three blocks of a multiprocessor, or one for a large k.
#include "kernels/architecture.h"
#include "kernels/top_k_stream.cuh"

namespace indexcache::kernels {
namespace {

template <typename Shared, int Resident>
__global__ void __launch_bounds__(Shared::kThreads, Resident) stream_kernel(TopKParams p) {
  extern __shared__ __align__(16) char memory[];
  select_row(p, blockIdx.x, *reinterpret_cast<Shared*>(memory), SingleBlock{});
}

template <typename Shared, int Resident>
cudaError_t launch(const TopKParams& params, cudaStream_t stream) {
  const auto kernel = stream_kernel<Shared, Resident>;
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(sizeof(Shared)));
  if (status != cudaSuccess) return status;
  kernel<<<static_cast<unsigned>(params.rows), Shared::kThreads, sizeof(Shared), stream>>>(params);
  return cudaGetLastError();
}

}  // namespace

bool top_k_stream_applies(const TopKParams& params) {
  const std::size_t bytes = params.k <= ManyRows::kMost ? sizeof(ManyRows) : sizeof(LargeSets);
  return params.k <= kMostStreamed && bytes <= static_cast<std::size_t>(most_shared_bytes());
}

cudaError_t top_k_stream(const TopKParams& params, cudaStream_t stream) {
  if (!top_k_stream_applies(params)) return cudaErrorInvalidValue;
  if (params.k <= ManyRows::kMost) return launch<ManyRows, 3>(params, stream);
  return launch<LargeSets, 1>(params, stream);
}

}  // namespace indexcache::kernels
