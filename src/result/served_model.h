// SPDX-License-Identifier: Apache-2.0
// The model of a result as serving engines see it.
#pragma once

#include "result/result.h"
#include "serving/engine_export.h"

namespace indexcache {

// For a target of a result, if there is one. `config` is empty: a result does not hold the model's
// config.json.
inline ServedModel served_model(const ModelSummary& model, const Target* target = nullptr) {
  return {.architecture = model.architecture,
          .has_indexer = model.has_indexer,
          .config = {},
          .needs_trained_indexers = target != nullptr && target->distilled.has_value()};
}

}  // namespace indexcache
