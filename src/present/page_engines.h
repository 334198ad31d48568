// SPDX-License-Identifier: Apache-2.0
// What to paste into the configuration of a serving engine.
#pragma once

#include "core/pattern.h"
#include "result/result.h"

#include <string>

namespace indexcache {

// The engines most used first, the others folded away. `needs_trained_indexers` as in ServedModel.
std::string engines_html(const ModelSummary& summary, const Pattern& pattern,
                         bool needs_trained_indexers);

}  // namespace indexcache
