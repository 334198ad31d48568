// SPDX-License-Identifier: Apache-2.0
// UTF-8 as RFC 3629 defines it: no surrogates, nothing above U+10FFFF, shortest forms only.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

// Bytes of the character that starts at `at`; `text` must be valid and longer than `at`.
std::size_t utf8_length(std::string_view text, std::size_t at);

// Where the first byte sequence starts that is not UTF-8; nullopt when all of it is.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

// Appends the character's bytes.
void append_utf8(std::string& text, char32_t character);

// The character that starts at `at` of valid text.
char32_t utf8_character(std::string_view text, std::size_t at);

// The same text, where an incomplete or wrong byte sequence becomes U+FFFD: only for printing.
std::string printable_utf8(std::string_view bytes);

}  // namespace indexcache
