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

void add_target_option(CLI::App& command, std::string& target) {
  command.add_option("--target", target, "Target of a run that has several, such as 1/4 or 12")
      ->type_name("N|A/B");
}

}  // namespace indexcache
