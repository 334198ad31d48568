// SPDX-License-Identifier: Apache-2.0
// What the CPU offers: threads, memory, time.
#include "backend/cpu/cpu_backend.h"

#include "backend/cpu_device.h"
#include "core/thread_count.h"

#include <algorithm>
#include <chrono>
#include <unistd.h>

namespace indexcache {
namespace {

// Half of the machine's memory; the rest is left to the page cache and to other processes.
std::int64_t half_of_memory() {
  return std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE) / 2;
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads) {
  return std::make_unique<CpuBackend>(threads);
}

CpuBackend::CpuBackend(int threads)
    : threads_(thread_count(threads)), memory_bytes_(half_of_memory()) {}

// Every thread keeps the largest matrix of each kind that it has needed (cpu::scratch).
std::int64_t CpuBackend::scratch_bytes(const ModelShape& shape, std::int64_t rows,
                                       std::int64_t longest) const {
  constexpr std::int64_t kTile = 32, kKeys = 256, kRows = 128, kLossRows = 64, kExpertRows = 256;
  constexpr std::int64_t kHeads = 16;
  rows = std::max<std::int64_t>(rows, 1);
  const std::int64_t tile = std::min(kTile, rows);
  const std::int64_t numbers =
      kHeads * std::min(shape.index_topk, longest) +    // attention
      tile * (longest + shape.index_heads * kKeys) +    // indexer
      std::min(kRows, rows) * 2 * shape.intermediate +  // dense MLP
      std::min(kLossRows, rows) * shape.vocabulary +    // loss
      std::min(kExpertRows, rows) * (2 * shape.hidden + 2 * shape.moe_intermediate);
  return 4 * numbers * threads_;
}

double CpuBackend::measure(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace indexcache
