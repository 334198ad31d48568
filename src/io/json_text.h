// SPDX-License-Identifier: Apache-2.0
// JSON documents as text to print or to write.
#pragma once

#include "io/json.h"

#include <string>

namespace indexcache {

// `indent` spaces per level; a negative indent gives one line. File names need not be UTF-8, and
// JSON must be: bytes that are not become U+FFFD.
std::string json_text(const Json& json, int indent);

}  // namespace indexcache
