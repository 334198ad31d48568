// SPDX-License-Identifier: Apache-2.0
// A build without MPI.
#include "core/error.h"
#include "ranks/communicator.h"
#include "ranks/launcher.h"

namespace indexcache {

// Without messages, every rank would do all of the work.
std::unique_ptr<Communicator> join_communicator() {
  if (launched_ranks() <= 1) return nullptr;
  throw UsageError({"this build has no MPI", "mpirun or srun",
                    "no MPI was found when it was configured, or it was disabled",
                    "start one process, which uses all GPUs of its node, or build the program on a "
                    "machine with MPI (libopenmpi-dev)"});
}

std::string communicator_text() {
  return "none";
}

}  // namespace indexcache
