// SPDX-License-Identifier: Apache-2.0
#include "backend/devices/make_backend.h"

#include "backend/make_cpu_backend.h"
#include "core/error.h"

#include <string>

namespace indexcache {
namespace {

// Chooses between GPU and CPU; `reason` says why an automatic choice was not a GPU.
bool wants_gpu(const DeviceSpec& device, std::string& reason) {
  if (device.kind == DeviceSpec::Kind::automatic) return cuda_is_usable(reason, 0);
  return device.kind == DeviceSpec::Kind::cuda;
}

std::unique_ptr<Backend> make_unlimited(const BackendOptions& options) {
  std::string reason;
  if (wants_gpu(options.device, reason)) {
    return make_cuda_backend({options.compute, options.indexer, options.device.index});
  }
  if (options.compute != Precision::fp32 || options.indexer != Precision::fp32) {
    const bool named = options.device.kind == DeviceSpec::Kind::cpu;
    throw UsageError({"the CPU backend supports only fp32", "--precision / --indexer-precision",
                      named ? "--device cpu was given" : "no GPU is usable: " + reason,
                      named ? "--device cuda, or fp32 for both options" : "fp32 for both options"});
  }
  return make_cpu_backend(options.threads);
}

}  // namespace

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  std::unique_ptr<Backend> backend = make_unlimited(options);
  if (options.memory_limit) backend->limit_memory(*options.memory_limit);
  return backend;
}

}  // namespace indexcache
