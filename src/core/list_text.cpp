// SPDX-License-Identifier: Apache-2.0
#include "core/list_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace indexcache {

std::string list_text(const std::vector<std::string>& names) {
  if (names.size() == 1) return names.front();
  return fmt::format("{} and {}", fmt::join(names.begin(), names.end() - 1, ", "), names.back());
}

}  // namespace indexcache
