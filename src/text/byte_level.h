// SPDX-License-Identifier: Apache-2.0
// GPT-2's byte-level alphabet: every byte is written as one printable character, so that a JSON
// vocabulary can hold pieces of characters. Bytes that are printable Latin-1 stand for themselves;
// the others are U+0100, U+0101, … in their order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

// The bytes that a vocabulary entry stands for; nullopt when a character is not of the alphabet.
std::optional<std::string> bytes_of_entry(std::string_view entry);

// How a vocabulary writes these bytes.
std::string entry_of_bytes(std::string_view bytes);

}  // namespace indexcache
