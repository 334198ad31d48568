// SPDX-License-Identifier: Apache-2.0
// Patterns in files: run folders, run.json, pattern.yaml, and every other form in which people and
// engines write a pattern.
#pragma once

#include "core/pattern.h"
#include "io/json.h"
#include "result/stored_pattern.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

namespace indexcache {

// The content of a .json or YAML file as JSON values.
Json read_document(const std::filesystem::path& path);

// `path` is a run folder, a run.json or a pattern.yaml. Of several targets the smallest is taken,
// or the one that `target` names: as it was asked for ("1/4"), or its number of F layers. Throws
// InputError naming the file for what is neither.
StoredPattern read_stored_pattern(const std::filesystem::path& path,
                                  const std::string& target = "");
// The same of the content of `file`.
StoredPattern stored_pattern_of_document(const Json& document, const std::string& target,
                                         const std::filesystem::path& file);

// Only the pattern, of the above, of a file with one of the forms of serving/pattern_forms.h, or of
// a config.json. Throws InputError also for a length other than `layers` if that is known.
Pattern read_pattern_file(const std::filesystem::path& path,
                          std::optional<std::size_t> layers = std::nullopt);
// The same of the content of `where`.
Pattern pattern_of_document(const Json& document, std::optional<std::size_t> layers,
                            const std::string& where);

// Whether the document is one of those that stored_pattern_of_document reads: it names its schema.
bool has_schema(const Json& document);

}  // namespace indexcache
