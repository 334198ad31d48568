// SPDX-License-Identifier: Apache-2.0
// What no GPU computes, here or planned for.
#pragma once

#include "backend/model_shape.h"
#include "backend/precision.h"

#include <string>

namespace indexcache {

// Throws InputError, naming the key of config.json, for a model that only the CPU can run. `remedy`
// is what to try.
void require_gpu_operations(const ModelShape& shape, const std::string& remedy);

// Throws UsageError for a type of the indexer that only the CPU has.
void require_gpu_indexer(Precision indexer);

}  // namespace indexcache
