// SPDX-License-Identifier: Apache-2.0
#include "kernels/architecture.h"
#include "kernels/common.cuh"

namespace indexcache::kernels {
namespace {

// Asked at every launch rather than kept: a process may use several devices. The runtime answers
// from memory, in well under a microsecond.
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
  return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
}

bool has_warpgroups() {
#if defined(INDEXCACHE_BUILT_FOR_SM90A)
  return attribute(cudaDevAttrComputeCapabilityMajor) == 9;
#else
  return false;
#endif
}

int multiprocessors() {
  return attribute(cudaDevAttrMultiProcessorCount);
}

}  // namespace indexcache::kernels
