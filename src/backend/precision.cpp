// SPDX-License-Identifier: Apache-2.0
#include "backend/precision.h"

#include "core/error.h"

namespace indexcache {

void require_gpu_indexer(Precision indexer) {
  if (indexer != Precision::fp4) return;
  throw UsageError({"an FP4 indexer is computed on the CPU only", "--indexer-precision fp4",
                    "GPUs have fp32, bf16 and fp8", "--device cpu, or --indexer-precision fp8"});
}

}  // namespace indexcache
