// SPDX-License-Identifier: Apache-2.0
#include "command_tree.h"

#include "version.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace indexcache {
namespace {

std::vector<std::string> alternatives(const std::string& type) {
  std::vector<std::string> parts(1);
  for (const char c : type) {
    if (c == '|') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

bool is_literal(const std::string& text) {
  return !text.empty() && std::ranges::none_of(text, [](unsigned char c) {
    return std::isupper(c) != 0 || c == ' ';
  });
}

// Whether a value may be one of these placeholders, or of their like with an ending: "FILE.h5".
bool names(const std::string& type, std::initializer_list<std::string_view> placeholders) {
  return std::ranges::any_of(alternatives(type), [&](const std::string& part) {
    return std::ranges::find(placeholders, part.substr(0, part.find('.'))) != placeholders.end();
  });
}

OptionDescription describe(const CLI::Option& option, const std::vector<std::string>& required) {
  OptionDescription result;
  result.name = option.get_single_name();
  for (const std::string& name : option.get_snames()) result.spellings.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) result.spellings.push_back("--" + name);
  const bool flag = option.get_items_expected_max() == 0;
  if (!flag) result.type = option.get_type_name();
  result.text = option.get_description();
  result.fallback = option.get_default_str();
  result.group = option.get_group();
  result.required = std::ranges::find(required, result.name) != required.end();
  result.repeats = !flag && option.get_items_expected_max() > 1;
  return result;
}

// CLI11 adds --help first; it belongs to the general options, which come last.
std::vector<OptionDescription> options_of(const CLI::App& app,
                                          const std::vector<std::string>& required) {
  std::vector<OptionDescription> result;
  for (const CLI::Option* option : app.get_options()) {
    result.push_back(describe(*option, required));
  }
  std::rotate(result.begin(), result.begin() + 1, result.end());
  return result;
}

}  // namespace

std::vector<std::string> OptionDescription::literals() const {
  std::vector<std::string> values;
  for (const std::string& part : alternatives(type)) {
    if (is_literal(part)) values.push_back(part);
  }
  return values;
}

bool OptionDescription::takes_file() const {
  return names(type, {"FILE", "MODEL", "RUN", "PATTERN"});
}

bool OptionDescription::takes_folder() const {
  return names(type, {"DIR"});
}

std::string CommandDescription::usage() const {
  std::string text = std::string(kToolName) + " " + name + " [OPTIONS]";
  for (const bool positional : {true, false}) {
    for (const OptionDescription& option : options) {
      if (option.is_positional() != positional || !option.required) continue;
      text += positional ? " " : " " + option.spellings.front() + " ";
      text += option.type + (positional && option.repeats ? " ..." : "");
    }
  }
  return text;
}

std::vector<std::string> CommandDescription::groups() const {
  std::vector<std::string> found;
  for (const OptionDescription& option : options) {
    if (std::ranges::find(found, option.group) == found.end()) found.push_back(option.group);
  }
  return found;
}

CommandDescription describe(const Command& command) {
  return {command.app->get_name(), command.app->get_description(),
          options_of(*command.app, command.required), command.examples};
}

CommandDescription describe_program(const CLI::App& app) {
  return {app.get_name(), app.get_description(), options_of(app, {}), {}};
}

std::vector<CommandDescription> describe(const std::vector<Command>& commands) {
  std::vector<CommandDescription> result;
  for (const Command& command : commands) {
    if (!command.app->get_group().empty()) result.push_back(describe(command));
  }
  return result;
}

}  // namespace indexcache
