// SPDX-License-Identifier: Apache-2.0
// The CPU backend as the rest of the program sees it.
#pragma once

#include "backend/backend.h"
#include "backend/precision.h"

#include <memory>

namespace indexcache {

// `threads` is passed to thread_count(): 0 means as many as there are cores to use. `compute` is
// fp32 or fp8, `indexer` any precision.
std::unique_ptr<Backend> make_cpu_backend(int threads, Precision compute, Precision indexer);

}  // namespace indexcache
