// SPDX-License-Identifier: Apache-2.0
// What values an option takes, stated once: checked, shown in the help and completed by shells.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// What CLI11 says about a value, in the words of this program.
std::string value_message(const CLI::Error& error);

// Only these values.
CLI::Option* one_of(CLI::Option* option, const std::vector<std::string>& values);

// --target, of commands that read a run.
void add_target_option(CLI::App& command, std::string& target);

// Numbers from `least` to `most`; the help shows `type`.
template <typename Number>
CLI::Option* in_range(CLI::Option* option, const char* type, Number least, Number most) {
  CLI::Validator range = CLI::Range(least, most);
  return option->type_name(type)->check(range.description(""));
}

// An option with names for the values of an enumeration, the first of them being the default.
template <typename Value>
CLI::Option* add_named_values(CLI::App& command, const char* option, Value& value,
                              std::vector<std::pair<std::string, Value>> names,
                              const char* description) {
  std::vector<std::string> allowed;
  for (const auto& [name, unused] : names) allowed.push_back(name);
  const auto set = [&value, names](const std::string& text) {
    for (const auto& [name, meaning] : names) {
      if (name == text) value = meaning;
    }
  };
  return one_of(command.add_option_function<std::string>(option, set, description), allowed)
      ->default_str(names.front().first);
}

// While it lives, options that are added to `command` belong to a group of its help.
class OptionGroup {
 public:
  OptionGroup(CLI::App& command, const char* name) : command_(command) {
    command_.option_defaults()->group(name);
  }
  ~OptionGroup() { command_.option_defaults()->group("Options"); }
  OptionGroup(const OptionGroup&) = delete;
  OptionGroup& operator=(const OptionGroup&) = delete;

 private:
  CLI::App& command_;
};

}  // namespace indexcache
