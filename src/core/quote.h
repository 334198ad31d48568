// SPDX-License-Identifier: Apache-2.0
// Text of users, files and libraries inside messages: short, on one line, and valid UTF-8, however
// long and damaged it is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace indexcache {

// At most 60 characters of `text` around its byte `at`. "…" marks an end that was left out;
// control characters and bytes that are not UTF-8 are escaped, as in "\n" and "\xff".
std::string excerpt(std::string_view text, std::size_t at = 0);

// The same in double quotes.
std::string quote(std::string_view text, std::size_t at = 0);

// A text of at most `bytes` bytes: " … " replaces the middle of a longer one.
std::string bounded(std::string text, std::size_t bytes);

}  // namespace indexcache
