// SPDX-License-Identifier: Apache-2.0
// A build without CUDA.
#include "backend/cuda_device.h"
#include "core/error.h"

namespace indexcache {

bool cuda_is_usable(std::string& reason) {
  reason = "this build has no CUDA engine";
  return false;
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions&) {
  throw ResourceError({"this build has no CUDA engine", "--device cuda",
                       "it was configured where no CUDA toolkit was found, or without CUDA",
                       "--device cpu, or build again where nvcc is"});
}

}  // namespace indexcache
