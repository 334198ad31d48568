// SPDX-License-Identifier: Apache-2.0
// The reference implementation: float32, Eigen for matrix products, OpenMP over tiles of rows.
#pragma once

#include "backend/backend.h"
#include "backend/memory_ledger.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace indexcache {

class CpuBackend : public Backend {
 public:
  // Every operation of this backend runs on `threads` threads (0: thread_count() decides); other
  // backends of the process and OpenMP's defaults are not affected.
  explicit CpuBackend(int threads = 0);

  std::string name() const override { return "cpu"; }

  std::int64_t memory_bytes() const override { return memory_bytes_; }
  void limit_memory(std::int64_t bytes) override { memory_bytes_ = std::min(memory_bytes_, bytes); }
  MemoryUse memory_use() const override { return ledger_->use(); }
  std::int64_t scratch_bytes(const ModelShape& shape, std::int64_t rows,
                             std::int64_t longest) const override;
  int threads() const { return threads_; }

#include "backend/operation_overrides.inc"

 private:
  std::shared_ptr<MemoryLedger> ledger_ = std::make_shared<MemoryLedger>();
  int threads_;
  std::int64_t memory_bytes_;
};

}  // namespace indexcache
