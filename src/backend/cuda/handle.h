// SPDX-License-Identifier: Apache-2.0
// Owners of CUDA objects. Destructors do not throw: an error there also shows in the calls before
// or after it.
#pragma once

#include "backend/cuda/check.h"

#include <memory>
#include <type_traits>

namespace indexcache::cuda {

template <auto Destroy>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    static_cast<void>(Destroy(object));
  }
};

// T is the pointer type of the C interface, such as cudaStream_t.
template <typename T, auto Destroy>
using Handle = std::unique_ptr<std::remove_pointer_t<T>, Deleter<Destroy>>;

using Stream = Handle<cudaStream_t, cudaStreamDestroy>;
using SharedStream = std::shared_ptr<std::remove_pointer_t<cudaStream_t>>;
using Pool = Handle<cudaMemPool_t, cudaMemPoolDestroy>;
using Event = Handle<cudaEvent_t, cudaEventDestroy>;
using Blas = Handle<cublasLtHandle_t, cublasLtDestroy>;
using MatmulDesc = Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using MatrixLayout = Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using MatmulPreference = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

inline Stream make_stream() {
  cudaStream_t stream = nullptr;
  INDEXCACHE_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}

inline Event make_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t event = nullptr;
  INDEXCACHE_CUDA(cudaEventCreateWithFlags(&event, flags));
  return Event(event);
}

}  // namespace indexcache::cuda
