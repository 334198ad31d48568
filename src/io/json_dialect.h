// SPDX-License-Identifier: Apache-2.0
// JSON as Python's json.dumps writes it, brought into the form that strict parsers read.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

struct StrictJsonText {
  std::string text;            // as long as the original, so that places in it stay the same
  bool has_numbers = false;    // some strings of `text` stand for numbers: see number_behind()
  std::size_t surrogates = 0;  // halves of a pair that became U+FFFD
};

// Replaces NaN, Infinity, -Infinity and numbers beyond a double by strings of a kind that `text`
// does not contain (if it does, they stay), and "\ud83d" without its other half by "\ufffd".
// nullopt if there is nothing to replace. `text` may be any bytes.
std::optional<StrictJsonText> strict_json_text(std::string_view text);

// The number that a string of such a text stands for.
std::optional<double> number_behind(std::string_view string);

// The deepest nesting of lists and objects.
std::size_t json_depth(std::string_view text);

// "UTF-16", "UTF-32" for bytes that begin with such a byte-order mark, "UTF-16LE" and the like for
// those whose first characters are ASCII in that encoding; empty for others.
std::string_view wide_encoding(std::string_view text);

}  // namespace indexcache
