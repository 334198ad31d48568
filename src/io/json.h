// SPDX-License-Identifier: Apache-2.0
// Strict JSON with errors that name file and place. Keys keep their order when written.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

using Json = nlohmann::ordered_json;

// Throws InputError with `where`, the byte position and the parser's reason; duplicate keys of one
// object are refused too. `remedy` is the advice of that error.
Json parse_json(std::string_view text, const std::string& where,
                const std::string& remedy = "check that the file is complete and valid JSON");

// A line of a .jsonl file. `where` is "file:line"; errors add the column. Keys may repeat: the last
// counts.
Json parse_json_line(std::string_view text, const std::string& where, const std::string& remedy);

// For files with objects of very many keys, where keeping their order would take quadratic time; of
// two equal keys the last counts.
using LargeJson = nlohmann::json;
LargeJson parse_large_json(std::string_view text, const std::string& where,
                           const std::string& remedy);
// The same, but of two equal keys one is an error, as for parse_json.
LargeJson parse_strict_large_json(std::string_view text, const std::string& where,
                                  const std::string& remedy);

// A double that survives the way through text bit for bit: C99 hexadecimal notation.
std::string hex_float(double value);

// nullopt unless the whole of `text` is one finite number.
std::optional<double> parse_hex_float(const std::string& text);

}  // namespace indexcache
