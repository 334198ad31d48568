// SPDX-License-Identifier: Apache-2.0
#include "text/byte_level.h"

#include "core/utf8.h"

#include <array>

namespace indexcache {
namespace {

bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int, 0x200> byte{};  // -1: not of the alphabet

  Alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      character[b] = stands_for_itself(b) ? b : next++;
      byte[character[b]] = static_cast<int>(b);
    }
  }
};

const Alphabet kAlphabet;

}  // namespace

std::optional<std::string> bytes_of_entry(std::string_view entry) {
  std::string bytes;
  for (std::size_t at = 0; at < entry.size(); at += utf8_length(entry, at)) {
    const char32_t character = utf8_character(entry, at);
    if (character >= kAlphabet.byte.size() || kAlphabet.byte[character] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte[character]);
  }
  return bytes;
}

std::string entry_of_bytes(std::string_view bytes) {
  std::string entry;
  for (const char byte : bytes) {
    append_utf8(entry, kAlphabet.character[static_cast<unsigned char>(byte)]);
  }
  return entry;
}

}  // namespace indexcache
