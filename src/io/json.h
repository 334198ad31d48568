// SPDX-License-Identifier: Apache-2.0
// JSON with errors that name file and place, and quote little. Keys keep their order when written.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

using Json = nlohmann::ordered_json;

// Throws InputError with `where`, line, column and reason; duplicate keys of one object and values
// nested deeper than 500 levels are refused too. `remedy` is the advice of that error.
Json parse_json(std::string_view text, const std::string& where,
                const std::string& remedy = "check that the file is complete and valid JSON");

// The same for files of other programs, a config.json for example: also as Python writes them.
// NaN, Infinity and numbers beyond a double become floating-point numbers that no reader of a value
// accepts; half a surrogate pair becomes U+FFFD.
Json parse_foreign_json(std::string_view text, const std::string& where,
                        const std::string& remedy = "check that the file is complete, valid JSON");

// Such a value as Python writes it: not finite numbers are NaN, Infinity and -Infinity.
std::string foreign_json_text(const Json& json, int indent);

// Where in a file a text begins.
struct JsonPlace {
  std::string file;
  std::size_t line = 1;
  std::size_t column = 1;  // in bytes, from 1
};

struct JsonDocument {
  Json value;
  std::size_t replaced = 0;  // halves of surrogate pairs that became U+FFFD
};

// A document of a .jsonl or .json file, as parse_foreign_json; errors are at "file:line:column".
// Keys may repeat: the last counts.
JsonDocument parse_json_document(std::string_view text, const JsonPlace& place,
                                 const std::string& remedy);

// For files with objects of very many keys, where keeping their order would take quadratic time; of
// two equal keys the last counts.
using LargeJson = nlohmann::json;
LargeJson parse_large_json(std::string_view text, const std::string& where,
                           const std::string& remedy);
// The same, but of two equal keys one is an error, as for parse_json.
LargeJson parse_strict_large_json(std::string_view text, const std::string& where,
                                  const std::string& remedy);

// A value as messages name it: "a list", "an object", a number, or the beginning of a string.
std::string described(const Json& value);
std::string described(const LargeJson& value);

// A double that survives the way through text bit for bit: C99 hexadecimal notation.
std::string hex_float(double value);

// nullopt unless the whole of `text` is one finite number.
std::optional<double> parse_hex_float(const std::string& text);

}  // namespace indexcache
