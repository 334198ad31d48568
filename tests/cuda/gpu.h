// SPDX-License-Identifier: Apache-2.0
// The two backends side by side: the same operation on the same numbers.
#pragma once

#include "backend/cpu/cpu_backend.h"
#include "backend/cuda/check.h"
#include "backend/cuda/cuda_backend.h"
#include "kernels/indexer_logits.h"
#include "support/bf16.h"
#include "support/compare.h"
#include "support/random.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace indexcache::test {

inline constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// For everything on the device, before and after a kernel on the default stream.
inline void synchronize() {
  INDEXCACHE_CUDA(cudaDeviceSynchronize());
}

// Whether this GPU has the kernels of indexer logits for Hopper; warns if it does not.
inline bool has_hopper_logits() {
  kernels::IndexerLogitsParams probe{};
  probe.type = kernels::Type::bf16;
  probe.heads = 32;
  probe.width = 128;
  const bool has = kernels::indexer_logits_sm90_applies(probe);
  if (!has) WARN("not a Hopper GPU: nothing to test");
  return has;
}

inline std::size_t count_of(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(rows * cols);
}

// Ragged lengths around the tiles of every kernel, and an empty segment.
inline RowLayout ragged_rows(std::int64_t first_position = 0) {
  RowLayout rows;
  for (std::int64_t count : {131, 0, 1, 64, 257, 9}) rows.append(count, first_position);
  return rows;
}

// A GPU backend of one precision, and how close it must come to float32 on the same inputs.
struct Gpu {
  explicit Gpu(Precision compute, Precision indexer = Precision::fp32)
      : backend({compute, indexer}), bf16(compute != Precision::fp32) {}

  double tolerance(double fp32) const { return bf16 ? 1e-2 : fp32; }
  // Numbers that the backend's type represents exactly, so that both backends see the same.
  std::vector<float> random(std::int64_t rows, std::int64_t cols, std::uint32_t seed) const {
    auto values = random_floats(count_of(rows, cols), seed);
    return bf16 ? to_bf16(std::move(values)) : values;
  }
  Tensor poisoned(std::int64_t rows, std::int64_t cols) {
    return backend.upload_matrix(std::vector<float>(count_of(rows, cols), kPoison), rows, cols);
  }

  CudaBackend backend;
  bool bf16;
};

// Runs `operation(backend, put, poison)` on both backends; put uploads in the activation type.
template <typename Operation>
void compare_backends(Gpu& gpu, double tolerance, const Operation& operation) {
  CpuBackend cpu;
  const auto run = [&](Backend& backend) {
    const auto put = [&](const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
      return backend.upload_matrix(values, rows, cols);
    };
    const auto poison = [&](std::int64_t rows, std::int64_t cols) {
      return put(std::vector<float>(count_of(rows, cols), kPoison), rows, cols);
    };
    return backend.download(operation(backend, put, poison));
  };
  CHECK_CLOSE(run(gpu.backend), run(cpu), tolerance);
}

}  // namespace indexcache::test
