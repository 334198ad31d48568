// SPDX-License-Identifier: Apache-2.0
#include "option_values.h"

#include "core/quote.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>

namespace indexcache {

std::string value_message(const CLI::Error& error) {
  // "Could not convert: --pp-size = x"; every option that has a type is a number.
  constexpr std::string_view kConversion = "Could not convert: ";
  std::string text = error.what();
  const std::size_t equals = text.find(" = ");
  if (!text.starts_with(kConversion) || equals == std::string::npos) return text;
  return fmt::format("{}: {} is not a number that it takes",
                     text.substr(kConversion.size(), equals - kConversion.size()),
                     quote(text.substr(equals + 3)));
}

CLI::Option* one_of(CLI::Option* option, const std::vector<std::string>& values) {
  const auto check = [values](const std::string& given) {
    if (std::ranges::find(values, given) != values.end()) return std::string();
    return fmt::format("{} is not one of {}", quote(given), fmt::join(values, ", "));
  };
  return option->type_name(fmt::format("{}", fmt::join(values, "|")))
      ->check(CLI::Validator(check, ""));
}

void add_target_option(CLI::App& command, std::string& target) {
  command.add_option("--target", target, "Target of a run that has several, such as 1/4 or 12")
      ->type_name("N|A/B");
}

}  // namespace indexcache
