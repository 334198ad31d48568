// SPDX-License-Identifier: Apache-2.0
// Launches of the kernels of indexer_logits_sm90.cuh: which operands they take, and the kernel for
// their type and number of heads.
#pragma once

#include "kernels/architecture.h"
#include "kernels/indexer_logits_sm90.cuh"

namespace indexcache::kernels::logits_sm90 {

// Head weights are to be aligned to 16 bytes, too.
inline bool takes(Type type, int heads, int width) {
  if (width != kWidth || (type != Type::bf16 && type != Type::e4m3)) return false;
  return (heads == 16 || heads == 32 || heads == 64) && has_warpgroups();
}

inline bool is_aligned(const float* head_weights) {
  return reinterpret_cast<std::uintptr_t>(head_weights) % 16 == 0;
}

// One block per multiprocessor of Kernels::get<T, Heads>().
template <class Kernels, typename T, int Heads, class Params>
cudaError_t launch_shape(const Params& p, cudaStream_t stream) {
  const auto kernel = Kernels::template get<T, Heads>();
  constexpr int kBytes = Shape<T, Heads, Params>::kBytes;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  kernel<<<static_cast<unsigned>(multiprocessors()), kThreads, kBytes, stream>>>(p);
  return cudaGetLastError();
}

template <class Kernels, typename T, class Params>
cudaError_t launch_type(const Params& p, cudaStream_t stream) {
  if (p.heads == 16) return launch_shape<Kernels, T, 16>(p, stream);
  if (p.heads == 32) return launch_shape<Kernels, T, 32>(p, stream);
  return launch_shape<Kernels, T, 64>(p, stream);
}

// For operands that takes() and is_aligned() accept.
template <class Kernels, class Params>
cudaError_t launch(const Params& p, cudaStream_t stream) {
  if (p.type == Type::bf16) return launch_type<Kernels, bf16>(p, stream);
  return launch_type<Kernels, __nv_fp8_e4m3>(p, stream);
}

}  // namespace indexcache::kernels::logits_sm90
