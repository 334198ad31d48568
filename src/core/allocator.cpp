// SPDX-License-Identifier: Apache-2.0
#include "core/allocator.h"

#include <malloc.h>

namespace indexcache {

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

}  // namespace indexcache
