// SPDX-License-Identifier: Apache-2.0
// Matrix products through cuBLASLt, with one algorithm per shape: it is chosen once for the
// columns, depth and types of a product and used for any number of rows, never with split sums, so
// that a row has the same bits whatever else is multiplied with it.
#pragma once

#include "backend/cuda/device_memory.h"
#include "backend/cuda/handle.h"
#include "backend/gpu_scratch.h"
#include "core/dtype.h"

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace indexcache::cuda {

// out[h] (+)= x[h] weight[h]^T for every head h; strides in elements.
struct Product {
  const void* x;       // in [rows, depth]
  const void* weight;  // in [cols, depth], or [depth, cols] if it is transposed; without gaps
  void* out;           // out_type [rows, cols]
  std::int64_t rows, cols, depth;
  std::int64_t x_stride, out_stride;
  std::int64_t heads = 1;
  std::int64_t x_head_stride = 0, weight_head_stride = 0, out_head_stride = 0;
  DType type;      // of x and weight: f32 (IEEE, no TF32) or bf16
  DType out_type;  // type, or f32; sums are float32
  bool accumulate = false;
  bool transposed_weight = false;  // out[h] (+)= x[h] weight[h]
};

class Gemm {
 public:
  explicit Gemm(DeviceMemory& memory);
  ~Gemm();

  // Products of different experts run on kProductStreams streams at the same time: product `side`
  // uses a workspace of its own.
  void run(const Product& product, cudaStream_t stream, int side = 0);

 private:
  struct Prepared;

  Prepared& prepared(const Product& product);
  std::unique_ptr<Prepared> prepare(const Product& product, std::uint32_t alignment);

  Blas blas_;
  std::shared_ptr<void> workspaces_[kProductStreams];
  std::map<std::vector<std::int64_t>, std::unique_ptr<Prepared>> prepared_;
};

}  // namespace indexcache::cuda
