// SPDX-License-Identifier: Apache-2.0
#include "core/thread_count.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <omp.h>

namespace indexcache {

int thread_count(int requested) {
  if (requested > 0) return requested;
  const int available = omp_get_max_threads();
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0;
  double period = 0;
  if (!(file >> quota >> period) || period <= 0) return available;  // "max": no quota
  return std::clamp(static_cast<int>(std::ceil(quota / period)), 1, available);
}

}  // namespace indexcache
