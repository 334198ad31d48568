// SPDX-License-Identifier: Apache-2.0
// A pattern, and what to paste into the configuration of a serving engine.
#pragma once

#include "core/pattern.h"
#include "result/result.h"

#include <string>

namespace indexcache {

// The letters of a pattern, with a label of what each of them is.
std::string pattern_html(const ModelSummary& summary, const Pattern& pattern);

// The engines most used first, the others folded away unless only they take the pattern.
// `needs_trained_indexers` as in ServedModel.
std::string engines_html(const ModelSummary& summary, const Pattern& pattern,
                         bool needs_trained_indexers);

}  // namespace indexcache
