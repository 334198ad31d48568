// SPDX-License-Identifier: Apache-2.0
#include "kernels/architecture.h"
#include "kernels/common.cuh"

namespace indexcache::kernels {
namespace {

int attribute(cudaDeviceAttr name) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&value, name, device) != cudaSuccess) return 0;
  return value;
}

__global__ void probe_kernel() {}

}  // namespace

bool runs_here() {
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess) return true;
  cudaGetLastError();  // clears it
  return false;
}

int most_shared_bytes() {
  static const int bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return bytes;
}

bool has_warpgroups() {
#if defined(INDEXCACHE_BUILT_FOR_SM90A)
  static const bool hopper = attribute(cudaDevAttrComputeCapabilityMajor) == 9;
  return hopper;
#else
  return false;
#endif
}

int multiprocessors() {
  static const int count = attribute(cudaDevAttrMultiProcessorCount);
  return count;
}

}  // namespace indexcache::kernels
