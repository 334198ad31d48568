// SPDX-License-Identifier: Apache-2.0
#include "core/word_wrap.h"

#include <sstream>

namespace indexcache {

std::string word_wrap(const std::string& text, std::size_t indent, std::size_t columns) {
  std::string out;
  std::size_t column = indent;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (column > indent && column + 1 + word.size() > columns) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) out += " ", ++column;
    out += word;
    column += word.size();
  }
  return out;
}

}  // namespace indexcache
