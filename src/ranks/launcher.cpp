// SPDX-License-Identifier: Apache-2.0
#include "ranks/launcher.h"

#include <cstdlib>
#include <initializer_list>

namespace indexcache {

int launched_ranks() {
  // Open MPI; MPICH and Slurm's PMI-1 and PMI-2.
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  // Slurm's PMIx names the rank only; its step has as many tasks.
  if (std::getenv("PMIX_RANK") == nullptr) return 0;
  const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  return tasks == nullptr ? 0 : std::atoi(tasks);
}

int launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  return 0;
}

}  // namespace indexcache
