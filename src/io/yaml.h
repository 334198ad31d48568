// SPDX-License-Identifier: Apache-2.0
// YAML as JSON values, so that one reader serves run.json and pattern.yaml.
#pragma once

#include "io/json.h"

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace indexcache {

// Line (from 1) of every key and list entry, by its JSON pointer: "/guards/max_ppl_ratio".
using YamlLines = std::map<std::string, std::size_t>;

// typed: plain scalars become null, booleans and numbers as in YAML 1.2's core schema, quoted ones
// stay text. text: every scalar but null stays text as written, for settings that the command line
// would take as text too.
enum class YamlScalars { typed, text };

// Throws InputError naming `where` and the line for anything that is not YAML, for a key that is
// not a scalar or that appears twice, and for documents that expand beyond a million values or 64
// levels.
Json parse_yaml(std::string_view text, const std::string& where, YamlLines* lines = nullptr,
                YamlScalars scalars = YamlScalars::typed);

// The document as block YAML that people read and parse_yaml gives back: lists of plain values on
// one line, one line per object of a list. All text is quoted. Readers of YAML 1.1, Python's among
// them, take it the same way.
std::string to_yaml(const Json& document);

}  // namespace indexcache
