// SPDX-License-Identifier: Apache-2.0
// The reference implementation: float32, Eigen for matrix products, OpenMP over tiles of rows. It
// owns memory and threads; what computes is an Arithmetic, chosen for the processor (isa.h).
#pragma once

#include "backend/backend.h"
#include "backend/component_timeline.h"
#include "backend/cpu/isa.h"
#include "backend/memory_ledger.h"
#include "backend/precision.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace indexcache {
namespace cpu {

// Stamps of this thread for a ComponentTimeline.
struct SteadyClock {
  using Stamp = std::chrono::steady_clock::time_point;

  void start() {}
  void prepare(std::size_t) {}
  Stamp stamp() noexcept { return std::chrono::steady_clock::now(); }
  void wait() {}
  double seconds(Stamp from, Stamp to) { return std::chrono::duration<double>(to - from).count(); }
};

}  // namespace cpu

class CpuBackend : public Backend {
 public:
  // Every operation of this backend runs on `threads` threads (0: thread_count() decides); other
  // backends of the process and OpenMP's defaults are not affected. Without `isa` it is the one
  // that INDEXCACHE_CPU_ISA asks for, else the best that the processor has; errors are those of
  // choose_isa(). `compute` is fp32, or fp8: then matrices that are stored in FP8 are multiplied as
  // deployed. `indexer` is what its queries and keys are rounded to before they meet, in float32.
  explicit CpuBackend(int threads = 0, Precision compute = Precision::fp32,
                      Precision indexer = Precision::fp32)
      : CpuBackend(threads, cpu::choose_isa(cpu::wanted_isa()), compute, indexer) {}
  CpuBackend(int threads, const cpu::Isa& isa, Precision compute = Precision::fp32,
             Precision indexer = Precision::fp32);

  // "cpu x86-64-v4", or "cpu x86-64-v4 fp8 indexer fp4": the same bits are not promised on
  // different instruction sets.
  std::string name() const override;
  std::string remark() const override;
  bool keeps_fp8() const override { return compute_ == Precision::fp8; }

  std::int64_t memory_bytes() const override { return memory_bytes_; }
  void limit_memory(std::int64_t bytes) override { memory_bytes_ = std::min(memory_bytes_, bytes); }
  MemoryUse memory_use() const override { return ledger_->use(); }
  std::int64_t scratch_bytes(const ModelShape& shape, std::int64_t rows,
                             std::int64_t longest) const override;
  void check(const ModelShape& shape) const override;
  PageFormat index_page_format(std::int64_t width) const override;
  int threads() const { return threads_; }

#include "backend/device_overrides.inc"
#include "backend/operation_overrides.inc"

 private:
  // An operation of the forward pass that is at work while it lives.
  class Operation : public ComponentTimeline<cpu::SteadyClock>::Scope {
   public:
    Operation(CpuBackend& backend, Component component)
        : Scope(backend.timeline_, backend.counted(component)) {}
  };

  const cpu::Arithmetic& compute() const {
    return *isa_.arithmetic;
  }

  // x [rows, heads * width] as the indexer's type.
  Tensor index_operand(const Tensor& x, std::int64_t width);

  const cpu::Isa& isa_;
  std::shared_ptr<MemoryLedger> ledger_ = std::make_shared<MemoryLedger>();
  int threads_;
  Precision compute_, indexer_;
  std::int64_t memory_bytes_;
  ComponentTimeline<cpu::SteadyClock> timeline_;
};

}  // namespace indexcache
