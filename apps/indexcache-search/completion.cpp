// SPDX-License-Identifier: Apache-2.0
#include "completion.h"

#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace indexcache {
namespace {

std::vector<std::string> names_of(const std::vector<CommandDescription>& commands) {
  std::vector<std::string> names;
  for (const CommandDescription& command : commands) names.push_back(command.name);
  return names;
}

std::vector<std::string> spellings_of(const CommandDescription& command) {
  std::vector<std::string> all;
  for (const OptionDescription& option : command.options) {
    all.insert(all.end(), option.spellings.begin(), option.spellings.end());
  }
  return all;
}

// Within single quotes, where only these have a meaning for one of the shells.
std::string quotable(std::string text) {
  std::erase_if(text, [](char c) { return c == '\'' || c == '\\' || c == '`'; });
  return text;
}

// Within a description of zsh's _arguments.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : quotable(text)) {
    if (c == '[' || c == ']' || c == ':') out += '\\';
    out += c;
  }
  return out;
}

std::string bash_values(const OptionDescription& option) {
  const auto literals = option.literals();
  std::string text;
  if (!literals.empty()) {
    text +=
        fmt::format(R"(COMPREPLY+=($(compgen -W "{}" -- "$current")); )", fmt::join(literals, " "));
  }
  if (option.takes_file()) text += R"(_indexcache_search_paths -f; )";
  if (option.takes_folder()) text += R"(_indexcache_search_paths -d; )";
  return text;
}

// What follows an option that takes a value; `name` is that of the command, or empty before it.
std::string bash_cases(const std::string& name, const CommandDescription& command) {
  std::string text;
  for (const OptionDescription& option : command.options) {
    if (option.is_positional() || option.type.empty()) continue;
    std::vector<std::string> patterns;
    for (const std::string& spelling : option.spellings) patterns.push_back(name + ":" + spelling);
    text += fmt::format("    {}) {}return ;;\n", fmt::join(patterns, "|"), bash_values(option));
  }
  return text;
}

// Positional arguments of all commands complete alike: their values, and files.
std::string bash_positionals(const CommandDescription& command) {
  std::string text;
  for (const OptionDescription& option : command.options) {
    if (option.is_positional()) text += bash_values(option);
  }
  return text;
}

std::string zsh_action(const OptionDescription& option) {
  const auto literals = option.literals();
  const char* paths = option.takes_file() ? "_files" : option.takes_folder() ? "_files -/" : "";
  if (literals.empty()) return paths;
  std::string values = fmt::format("({})", fmt::join(literals, " "));
  if (*paths == '\0') return values;
  return fmt::format(R"(_alternative "values:value:{}" "files:file:{}")", values, paths);
}

std::string zsh_specification(const OptionDescription& option) {
  const std::string text = zsh_text(option.text);
  const std::string value =
      option.type.empty() ? "" : fmt::format(":{}:{}", zsh_text(option.type), zsh_action(option));
  if (option.is_positional()) {
    return fmt::format("    '{}:{}:{}'", option.repeats ? "*" : "", zsh_text(option.type),
                       zsh_action(option));
  }
  const char* repeats = option.repeats ? "*" : "";
  if (option.spellings.size() == 1) {
    return fmt::format("    '{}{}[{}]{}'", repeats, option.spellings[0], text, value);
  }
  const std::string others = fmt::format("({})", fmt::join(option.spellings, " "));
  return fmt::format("    {}{{{}}}'[{}]{}'", option.repeats ? "\\*" : "'" + others + "'",
                     fmt::join(option.spellings, ","), text, value);
}

// `condition` is that of the words before it.
std::string fish_option(const std::string& condition, const OptionDescription& option) {
  std::string text = fmt::format("complete -c {} -n '{}'", kToolName, condition);
  for (const std::string& spelling : option.spellings) {
    const bool is_long = spelling.starts_with("--");
    text += fmt::format(" -{} {}", is_long ? 'l' : 's', spelling.substr(is_long ? 2 : 1));
  }
  const auto literals = option.literals();
  std::string values = fmt::format("{}", fmt::join(literals, " "));
  if (option.takes_folder()) values += " (__fish_complete_directories)";
  if (!option.type.empty()) text += option.takes_file() ? " -r -F" : " -x";
  if (!values.empty()) text += fmt::format(" -a '{}'", values);
  return text + fmt::format(" -d '{}'\n", quotable(option.text));
}

}  // namespace

std::string bash_completion(const CommandDescription& program,
                            const std::vector<CommandDescription>& commands) {
  const std::string names = fmt::format("{}", fmt::join(names_of(commands), " "));
  std::string options, positionals, values = bash_cases("", program);
  for (const CommandDescription& command : commands) {
    options += fmt::format("      {}) words=\"{}\" ;;\n", command.name,
                           fmt::join(spellings_of(command), " "));
    positionals += fmt::format("    {}) {};;\n", command.name, bash_positionals(command));
    values += bash_cases(command.name, command);
  }
  return fmt::format(R"(# bash completion of {0}: source this file.
_indexcache_search_paths() {{
  local IFS=$'\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY+=($(compgen "$1" -- "$current"))
}}
_indexcache_search() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command=
  local words="{5}" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case " {1} " in *" ${{COMP_WORDS[i]}} "*) command=${{COMP_WORDS[i]}}; break ;; esac
  done
  case $command:$previous in
{2}  esac
  if [[ $current == -* ]]; then
    case $command in
{3}    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  case $command in
    "") COMPREPLY=($(compgen -W "{1}" -- "$current")) ;;
{4}  esac
}}
complete -F _indexcache_search {0}
)",
                     kToolName, names, values, options, positionals,
                     fmt::join(spellings_of(program), " "));
}

std::string zsh_completion(const CommandDescription& program,
                           const std::vector<CommandDescription>& commands) {
  std::string list, cases, options;
  for (const OptionDescription& option : program.options) {
    options += " \\\n" + zsh_specification(option);
  }
  for (const CommandDescription& command : commands) {
    list += fmt::format("    '{}:{}'\n", command.name, zsh_text(command.summary));
    cases += fmt::format("  {}) _arguments -s", command.name);
    for (const OptionDescription& option : command.options) {
      cases += " \\\n" + zsh_specification(option);
    }
    cases += " ;;\n";
  }
  return fmt::format(R"(#compdef {0}
_{0}() {{
  local state line
  local -a commands
  commands=(
{1}  )
  _arguments -C{3} \
    '1:command:->command' '*::argument:->arguments'
  case $state in
  command) _describe command commands ;;
  arguments) _{0}_arguments ;;
  esac
}}
_{0}_arguments() {{
  case $words[1] in
{2}  esac
}}
if [ "$funcstack[1]" = "_{0}" ]; then
  _{0} "$@"
else
  compdef _{0} {0}
fi
)",
                     kToolName, list, cases, options);
}

std::string fish_completion(const CommandDescription& program,
                            const std::vector<CommandDescription>& commands) {
  std::string text = fmt::format("# fish completion of {0}\ncomplete -c {0} -f\n", kToolName);
  for (const CommandDescription& command : commands) {
    text += fmt::format("complete -c {} -n __fish_use_subcommand -a {} -d '{}'\n", kToolName,
                        command.name, quotable(command.summary));
  }
  for (const OptionDescription& option : program.options) {
    text += fish_option("__fish_use_subcommand", option);
  }
  for (const CommandDescription& command : commands) {
    for (const OptionDescription& option : command.options) {
      if (!option.is_positional()) {
        text += fish_option("__fish_seen_subcommand_from " + command.name, option);
        continue;
      }
      const std::string values = fmt::format("{}", fmt::join(option.literals(), " "));
      text += fmt::format("complete -c {} -n '__fish_seen_subcommand_from {}'{}{}\n", kToolName,
                          command.name, option.takes_file() ? " -F" : "",
                          values.empty() ? "" : fmt::format(" -a '{}'", values));
    }
  }
  return text;
}

}  // namespace indexcache
