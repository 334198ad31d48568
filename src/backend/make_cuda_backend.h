// SPDX-License-Identifier: Apache-2.0
// The CUDA backend as the rest of the program sees it. A build without CUDA has the same functions
// (no_cuda.cpp), which report that.
#pragma once

#include "backend/backend.h"
#include "backend/precision.h"

#include <cstdint>
#include <memory>
#include <string>

namespace indexcache {

struct CudaOptions {
  Precision compute = Precision::fp32;  // activations and weights; fp32 is IEEE float32, no TF32
  Precision indexer = Precision::fp32;  // queries and keys of the lightning indexer
  int device = 0;                       // index among the GPUs that are visible
};

// Whether make_cuda_backend would succeed on that device; `reason` says why not.
bool cuda_is_usable(std::string& reason, int device = 0);

// GPUs that are visible; 0 without a driver, and in a build without CUDA.
int cuda_device_count();

// Throws ResourceError if there is no such GPU, no code for it in this build, or no driver, and if
// `compute` is fp8 and the GPU is not Hopper; an index out of range is answered with the GPUs that
// exist.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

}  // namespace indexcache
