// SPDX-License-Identifier: Apache-2.0
#include "settings.h"

#include "core/console.h"
#include "core/error.h"
#include "core/list_text.h"
#include "core/nearest_name.h"
#include "core/quote.h"
#include "io/files.h"
#include "io/yaml.h"
#include "option_values.h"
#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <unistd.h>

namespace indexcache {
namespace {

constexpr std::string_view kPrefix = "INDEXCACHE_";

struct Value {
  std::vector<std::string> texts;
  std::string origin;  // "file:line"
};

bool is_setting(const CLI::Option& option) {
  const std::string& name = option.get_single_name();
  return name != "help" && name != "version" && name != "config" && name != "print-config";
}

std::vector<std::string> setting_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    if (is_setting(*option)) names.push_back(option->get_single_name());
  }
  return names;
}

[[noreturn]] void fail(const std::string& what, const std::string& where, const std::string& why,
                       const std::string& remedy) {
  throw UsageError({what, where, why, remedy});
}

// A value or a list of values; `value` has no other text than that of the file.
Value read_value(const Json& value, const std::string& where) {
  Value texts{{}, where};
  for (const Json& one : value.is_array() ? value : Json::array({value})) {
    if (!one.is_string()) fail("a setting must be a value or a list of values", where, "", "");
    texts.texts.push_back(one.get<std::string>());
  }
  return texts;
}

Json read_document(const std::string& path, YamlLines& lines) {
  if (!std::filesystem::is_regular_file(path)) {
    fail("the configuration file does not exist", path, "", "check the path after --config");
  }
  try {
    return parse_yaml(read_file(path), path, &lines, YamlScalars::text);
  } catch (const InputError& error) {  // to main, this file is part of the command line
    fail("the configuration file is not valid YAML", error.problem().where, error.problem().why,
         "");
  }
}

void read_config(const std::string& path, const CLI::App& command,
                 std::map<std::string, Value>& values) {
  YamlLines lines;
  const Json document = read_document(path, lines);
  if (document.is_null()) return;
  if (!document.is_object()) fail("the configuration file is not a map of settings", path, "", "");
  const std::vector<std::string> known = setting_names(command);
  for (const auto& [name, value] : document.items()) {
    const std::string where = fmt::format("{}:{}", path, lines.at("/" + name));
    if (std::ranges::find(known, name) == known.end()) {
      const std::string near = nearest_name(name, known);
      fail(fmt::format("unknown setting \"{}\"", name), where,
           near.empty() ? "" : fmt::format("did you mean \"{}\"?", near),
           fmt::format("known settings: {}", fmt::join(known, ", ")));
    }
    values[name] = read_value(value, where);
  }
}

std::string environment_name(const std::string& option) {
  std::string name(kPrefix);
  for (char c : option) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

// "~/models" as a shell would have expanded it on the command line.
std::string with_home(const std::string& text) {
  const char* home = std::getenv("HOME");
  const bool refers = text == "~" || text.starts_with("~/");
  return refers && home != nullptr ? home + text.substr(1) : text;
}

void apply(CLI::Option& option, const Value& value) {
  try {
    for (const std::string& text : value.texts) option.add_result(with_home(text));
    option.run_callback();
  } catch (const CLI::Error& error) {
    fail(value_message(error), value.origin, "", "");
  }
}

// What is given before the command's name counts as given after it, unless that is given as well.
void adopt_program_options(CLI::App& command) {
  for (const CLI::Option* given : command.get_parent()->get_options()) {
    if (!is_setting(*given) || given->count() == 0) continue;
    CLI::Option* own = command.get_option_no_throw("--" + given->get_single_name());
    if (own != nullptr && own->count() == 0) apply(*own, {given->results(), "command line"});
  }
}

}  // namespace

void add_settings_options(CLI::App& command) {
  command
      .add_option("--config",
                  "YAML file of settings, whose keys are the names of options; may be repeated")
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  command.add_flag_callback(
      "--print-config", [] {}, "Print the merged settings and where each one comes from");
}

Origins merge_settings(CLI::App& command) {
  adopt_program_options(command);
  std::map<std::string, Value> from_files;
  for (const std::string& path : command.get_option("--config")->results()) {
    read_config(path, command, from_files);
  }
  Origins origins;
  for (CLI::Option* option : command.get_options()) {
    if (!is_setting(*option)) continue;
    const std::string name = option->get_single_name();
    if (option->count() > 0) {
      origins[name] = "command line";
      continue;
    }
    const std::string variable = environment_name(name);
    const char* text = std::getenv(variable.c_str());
    if (const auto found = from_files.find(name); found != from_files.end()) {
      apply(*option, found->second);
      origins[name] = found->second.origin;
    } else if (text != nullptr) {
      apply(*option, {{text}, variable});
      origins[name] = "environment " + variable;
    }
  }
  return origins;
}

bool print_settings(const CLI::App& command, const Origins& origins) {
  if (command.get_option("--print-config")->count() == 0) return false;
  for (const CLI::Option* option : command.get_options()) {
    if (!is_setting(*option)) continue;
    const std::string name = option->get_single_name();
    const auto results = option->results();
    const std::string text = results.size() == 1 ? results[0]
                             : results.empty()   ? option->get_default_str()
                                                 : fmt::format("[{}]", fmt::join(results, ", "));
    const auto origin = origins.find(name);
    write_output("{}: {}  # {}\n", name, text.empty() ? "null" : text,
                 origin == origins.end() ? "default" : origin->second);
  }
  return true;
}

void require_settings(const CLI::App& command, const std::vector<std::string>& required) {
  std::vector<std::string> missing, variables;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_single_name();
    if (option->count() > 0 || std::ranges::find(required, name) == required.end()) continue;
    missing.push_back(option->get_positional() ? option->get_type_name() : "--" + name);
    variables.push_back(environment_name(name));
  }
  if (missing.empty()) return;
  const bool one = missing.size() == 1;
  fail(fmt::format("{} {} required", list_text(missing), one ? "is" : "are"), "command line", "",
       fmt::format("{} {} --help; {} can also come from --config or from {}", kToolName,
                   command.get_name(), one ? "it" : "they", list_text(variables)));
}

std::vector<std::string> warnings_of_variables(const std::vector<const CLI::App*>& commands,
                                               const std::vector<std::string>& others) {
  std::vector<std::string> known, warnings;
  for (const std::string& name : others) known.push_back(name.substr(kPrefix.size()));
  for (const CLI::App* command : commands) {
    for (const std::string& name : setting_names(*command)) {
      known.push_back(environment_name(name).substr(kPrefix.size()));
    }
  }
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry, std::strcspn(*entry, "="));
    if (!variable.starts_with(kPrefix)) continue;
    const std::string_view name = variable.substr(kPrefix.size());
    if (std::ranges::find(known, name) != known.end()) continue;
    const std::string near = nearest_name(name, known);
    if (name == "CONFIG") {
      warnings.push_back(fmt::format(
          "the environment variable {} has no effect: only --config names settings files",
          variable));
    } else if (!near.empty()) {
      warnings.push_back(
          fmt::format("the environment variable {} has no effect: did you mean {}{}?",
                      excerpt(variable), kPrefix, near));
    }
  }
  return warnings;
}

}  // namespace indexcache
