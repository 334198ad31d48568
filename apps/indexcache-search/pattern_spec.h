// SPDX-License-Identifier: Apache-2.0
// Patterns and retentions as people write them.
#pragma once

#include "core/layer_numbers.h"
#include "core/pattern.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// What eval and bench take in place of a pattern: attention to all earlier tokens, without any
// indexer (ModelConfig::dense).
inline constexpr std::string_view kDense = "dense";

// A pattern that is the name of no file: a form of serving/pattern_forms.h. Throws InputError,
// which says so if the text looks like the name of a file or folder.
Pattern parse_pattern_text(const std::string& text, std::optional<std::size_t> layers);

// "full", a form of serving/pattern_forms.h, a file or folder that read_pattern_file takes, or
// "ENGINE:" before a file or JSON that this engine is to read, for a model whose layers own an
// indexer or not. If only some layers have a letter, a string may have one for each layer of the
// model as well, F, S or . for those that have none, and a list has numbers of layers. The result
// fits the model. Throws InputError.
Pattern parse_pattern_spec(const std::string& spec, const std::vector<bool>& has_indexer,
                           const LayerNumbers& numbers = {});

}  // namespace indexcache
