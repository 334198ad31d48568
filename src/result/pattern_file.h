// SPDX-License-Identifier: Apache-2.0
// Patterns in files: pattern.yaml (schema indexcache-pattern/1, docs/formats.md) and what else
// holds a pattern.
#pragma once

#include "core/pattern.h"
#include "io/json.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

namespace indexcache {

// The pattern of a pattern.yaml, of a run.json (its smallest target), of a run folder, of a file
// with one of the forms of serving/pattern_forms.h, or of a config.json. Throws InputError for an
// unknown schema version, a donor list that contradicts the pattern, and a length other than
// `layers` where that is known.
Pattern read_pattern_file(const std::filesystem::path& path,
                          std::optional<std::size_t> layers = std::nullopt);

// The content of a .json or YAML file as JSON values.
Json read_document(const std::filesystem::path& path);

// The pattern of a pattern.yaml that was read already.
Pattern pattern_of_document(const Json& document, std::optional<std::size_t> layers,
                            const std::string& where);

}  // namespace indexcache
