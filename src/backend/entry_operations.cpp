// SPDX-License-Identifier: Apache-2.0
// Operations that a backend need not have if its check() refuses the models that need them, and
// that refusal.
#include "backend/backend.h"
#include "backend/gpu_limits.h"
#include "core/error.h"

namespace indexcache {
namespace {

[[noreturn]] void lacks(const char* operation) {
  throw InternalError({"the backend lacks an operation", operation, "", ""});
}

}  // namespace

void require_gpu_operations(const ModelShape& shape, const std::string& remedy) {
  if (shape.window == 0) return;
  throw InputError({"the GPU backend has no kernel for this model", "compress_ratios",
                    "attention over compressed keys is computed on the CPU only", remedy});
}

void require_gpu_indexer(Precision indexer) {
  if (indexer != Precision::fp4) return;
  throw UsageError({"an FP4 indexer is computed on the CPU only", "--indexer-precision fp4",
                    "GPUs have fp32, bf16 and fp8", "--device cpu, or --indexer-precision fp8"});
}

Routing Backend::weigh_experts(const RowLayout&, const Tensor&, const Tensor&, const RouterRule&) {
  lacks("weigh_experts");
}

void Backend::window_attention(const RowLayout&, const Heads&, const WindowKeys&, float,
                               const Heads&, const Tensor&) {
  lacks("window_attention");
}

void Backend::pool_entries(const RowLayout&, const Tensor&, const Tensor&, const RowLayout&,
                           const Tensor&) {
  lacks("pool_entries");
}

}  // namespace indexcache
