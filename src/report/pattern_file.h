// SPDX-License-Identifier: Apache-2.0
// pattern.yaml (schema indexcache-pattern/1, docs/formats.md) read back.
#pragma once

#include "core/pattern.h"

#include <filesystem>

namespace indexcache {

// The pattern of a file that holds a pattern.yaml or a bare string of F and S. Throws InputError
// for an unknown schema version or a donor list that contradicts the pattern.
Pattern read_pattern_file(const std::filesystem::path& path);

}  // namespace indexcache
