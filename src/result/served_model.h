// SPDX-License-Identifier: Apache-2.0
// The model of a result as serving engines see it.
#pragma once

#include "result/result.h"
#include "serving/engine_export.h"

namespace indexcache {

// `config` is empty: a result does not hold the model's config.json.
inline ServedModel served_model(const ModelSummary& model) {
  return {.architecture = model.architecture, .has_indexer = model.has_indexer, .config = {}};
}

}  // namespace indexcache
