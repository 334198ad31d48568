// SPDX-License-Identifier: Apache-2.0
#include "option_values.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace indexcache {

CLI::Option* one_of(CLI::Option* option, const std::vector<std::string>& values) {
  CLI::Validator member = CLI::IsMember(values);
  return option->type_name(fmt::format("{}", fmt::join(values, "|")))
      ->check(member.description(""));
}

}  // namespace indexcache
