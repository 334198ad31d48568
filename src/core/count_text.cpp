// SPDX-License-Identifier: Apache-2.0
#include "core/count_text.h"

namespace indexcache {

std::string count_text(std::int64_t count) {
  std::string text = std::to_string(count);
  const std::size_t digits = text.find_first_not_of('-');
  for (std::size_t at = text.size(); at > digits + 3;) text.insert(at -= 3, ",");
  return text;
}

}  // namespace indexcache
