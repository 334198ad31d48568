// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace indexcache {

// Bytes in GiB, for messages.
constexpr double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / 0x1p30;
}

// Bytes of "24GiB", "1.5G", "800MB" or "123456": a number and one of B, K, M, G, T, each with or
// without B (powers of 1000) or iB (powers of 1024; a bare letter is one of these). nullopt for
// anything else, and for less than one byte.
std::optional<std::int64_t> parse_bytes(const std::string& text);

// "3.42 GiB", "12.0 MiB", "100 B".
std::string bytes_text(std::int64_t bytes);

}  // namespace indexcache
