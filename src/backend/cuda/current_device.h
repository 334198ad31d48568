// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime acts on the current device of the calling thread, which any code may change.
// Every entry point of the backend, on whatever thread it is called, makes its own device current
// first. Nobody restores the previous one: that would create a context, and take memory, on a
// device that this process may not use.
#pragma once

#include "backend/cuda/check.h"

namespace indexcache::cuda {

// Returns `device`.
inline int make_current(int device) {
  INDEXCACHE_CUDA(cudaSetDevice(device));
  return device;
}

// For destructors, which do not throw.
inline void try_make_current(int device) noexcept {
  static_cast<void>(cudaSetDevice(device));
}

}  // namespace indexcache::cuda
