// SPDX-License-Identifier: Apache-2.0
// A build without CUDA.
#include "backend/device_spec.h"
#include "backend/make_cuda_backend.h"
#include "core/error.h"

namespace indexcache {

bool cuda_is_usable(std::string& reason, int) {
  reason = "this build has no CUDA backend";
  return false;
}

int cuda_device_count() {
  return 0;
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  throw ResourceError({"this build has no CUDA backend",
                       "--device " + name_of(DeviceSpec{DeviceSpec::Kind::cuda, options.device}),
                       "no CUDA toolkit was found when it was configured, or CUDA was disabled",
                       "--device cpu, or build the program on a machine with nvcc"});
}

}  // namespace indexcache
