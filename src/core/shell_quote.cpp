// SPDX-License-Identifier: Apache-2.0
#include "core/shell_quote.h"

#include <algorithm>

namespace indexcache {
namespace {

// Letters of other scripts are part of words as well; "~" and "-" only matter at the beginning.
bool is_plain(unsigned char c) {
  return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("_-./:=@%+,").find(static_cast<char>(c)) != std::string_view::npos;
}

}  // namespace

std::string shell_quoted(std::string_view text) {
  if (!text.empty() && std::ranges::all_of(text, is_plain)) return std::string(text);
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

}  // namespace indexcache
