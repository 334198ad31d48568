// SPDX-License-Identifier: Apache-2.0
// Which models the kernels can run. The limits are those that the kernels' headers state and their
// launchers enforce.
#pragma once

#include "backend/make_cuda_backend.h"
#include "backend/model_shape.h"

namespace indexcache::cuda {

// Throws InputError naming the key of config.json and its limit; UsageError if only the precision
// of the indexer (`indexer`) does not suit the model.
void check_shape(const ModelShape& shape, Precision indexer);

}  // namespace indexcache::cuda
