// SPDX-License-Identifier: Apache-2.0
// The CUDA engine as the rest of the program sees it. A build without CUDA has the same functions
// (no_cuda.cpp), and they say so.
#pragma once

#include "backend/backend.h"

#include <cstdint>
#include <memory>
#include <string>

namespace indexcache {

enum class Precision { fp32, bf16, fp8 };  // fp8 for the indexer alone

constexpr std::string_view name_of(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return "fp32";
    case Precision::bf16:
      return "bf16";
    case Precision::fp8:
      return "fp8";
  }
  return "?";
}

struct CudaOptions {
  Precision compute = Precision::fp32;  // activations and weights; fp32 is IEEE float32, no TF32
  Precision indexer = Precision::fp32;  // queries and keys of the lightning indexer
};

// Whether make_cuda_backend would succeed; `reason` says why not.
bool cuda_is_usable(std::string& reason);

// Throws ResourceError when there is no GPU, none that this build has code for, or no driver.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

}  // namespace indexcache
