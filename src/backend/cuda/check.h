// SPDX-License-Identifier: Apache-2.0
// Every CUDA and cuBLASLt call goes through one of these.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

namespace indexcache::cuda {

[[noreturn]] void fail(cudaError_t status, const char* expression, const char* file, int line);
[[noreturn]] void fail(cublasStatus_t status, const char* expression, const char* file, int line);

inline bool succeeded(cudaError_t status) {
  return status == cudaSuccess;
}
inline bool succeeded(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS;
}

}  // namespace indexcache::cuda

// Throws ResourceError with the expression, its place and the error's name and text.
#define INDEXCACHE_CUDA(expression)                                                 \
  do {                                                                              \
    const auto indexcache_status = (expression);                                    \
    if (!::indexcache::cuda::succeeded(indexcache_status)) {                        \
      ::indexcache::cuda::fail(indexcache_status, #expression, __FILE__, __LINE__); \
    }                                                                               \
  } while (false)
