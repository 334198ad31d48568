// SPDX-License-Identifier: Apache-2.0
// Barriers in shared memory (PTX ISA, mbarrier) and the division of registers among warpgroups, for
// kernels whose warps have different tasks (only sm_90a). A barrier completes a phase when as many
// threads have arrived as it was made for; phases have parity 0, 1, 0, ... Waiting for parity 1 on
// a new barrier returns at once.
#pragma once

#include "kernels/common.cuh"

namespace indexcache::kernels {

__device__ inline void barrier_make(std::uint32_t barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// After the last barrier_make(), before the block's other threads see the barriers.
__device__ inline void barriers_made() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// What this thread wrote and read before is done for those that wait.
__device__ inline void barrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives once when all earlier cp.async of this thread are complete.
__device__ inline void barrier_arrive_after_copies(std::uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// Arrives once; the phase ends only after so many bytes have come by bulk copies, too.
__device__ inline void barrier_arrive_expecting(std::uint32_t barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Waits for the end of a phase of this parity.
__device__ inline void barrier_wait(std::uint32_t barrier, unsigned parity) {
  asm volatile(
      "{.reg .pred done;\n"
      "AGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra AGAIN;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// Barrier `Id`, 1 to 15, of `Threads` threads of the block.
template <int Id, int Threads>
__device__ inline void partial_barrier() {
  asm volatile("bar.sync %0, %1;" ::"n"(Id), "n"(Threads) : "memory");
}

// A place in a ring of stages: a stage and the parity of its present phase.
template <int Stages>
struct Turn {
  int stage = 0;
  unsigned parity = 0;

  __device__ void advance(int by) {
    stage += by;
    if (stage >= Stages) {
      stage -= Stages;
      parity ^= 1;
    }
  }
};

template <int Stages>
__device__ Turn<Stages> agreed(Turn<Stages> turn) {
  return {agreed(turn.stage), agreed(turn.parity)};
}

// Every thread of the warpgroup asks; the sum over warpgroups stays within what the launch took.
template <int Registers>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ inline void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

}  // namespace indexcache::kernels
