// SPDX-License-Identifier: Apache-2.0
// A pattern in every form in which people and engines write it.
#pragma once

#include "core/pattern.h"
#include "io/json.h"
#include "serving/profile.h"

#include <cstddef>
#include <optional>
#include <string>

namespace indexcache {

// For help texts and errors.
inline constexpr const char* kPatternForms =
    "uniform:4, freq:4[,offset:3][,rule:B], a string of F and S, the F layers (0,4,8), "
    "full,shared,…, or an engine's JSON";

// A pattern from text:
//   FSSF                        one character per layer
//   0,3 or [0, 3]               the F layers (needs `layers`)
//   full,shared,… or JSON list  indexer_types
//   uniform:4                   F where l mod 4 = 0 (needs `layers`)
//   freq:4,offset:3,rule:B      index_topk_freq by a rule of core/frequency.h (needs `layers`)
//   {"index_topk_pattern": …}   an engine's override or a config.json
// `layers` is the model's number of decoder layers, if known; a pattern of another length is
// refused. Throws InputError naming `origin`.
Pattern parse_pattern_form(const std::string& text, std::optional<std::size_t> layers,
                           const std::string& origin);

// The same from JSON. An object with sharing keys is read by the newest rules of every engine, and
// those that find a schedule in it must agree; with `engine`, by the rules of only that one.
Pattern pattern_from_json(const Json& json, std::optional<std::size_t> layers,
                          const std::string& origin, const EngineProfile* engine = nullptr);

}  // namespace indexcache
