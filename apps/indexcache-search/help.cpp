// SPDX-License-Identifier: Apache-2.0
#include "help.h"

#include "core/word_wrap.h"
#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace indexcache {
namespace {

constexpr std::size_t kWidth = 98;
constexpr std::size_t kIndent = 28;  // of descriptions

// `text` in lines of at most kWidth columns, the first beginning after `head`.
std::string wrapped(const std::string& head, const std::string& text) {
  std::string out = head;
  if (head.size() + 2 > kIndent) {
    out += "\n" + std::string(kIndent, ' ');
  } else {
    out.resize(kIndent, ' ');
  }
  return out + word_wrap(text, kIndent, kWidth) + "\n";
}

std::string head_of(const OptionDescription& option) {
  if (option.is_positional()) return "  " + option.type + (option.repeats ? " ..." : "");
  const bool only_long = option.spellings.front().starts_with("--");
  return fmt::format("  {}{}{}{}", only_long ? "    " : "", fmt::join(option.spellings, ", "),
                     option.type.empty() ? "" : " ", option.type);
}

std::string text_of(const OptionDescription& option) {
  std::string text = option.text;
  if (option.required) text += " (required)";
  if (!option.fallback.empty()) text += fmt::format(" [default: {}]", option.fallback);
  return text;
}

std::string options_text(const CommandDescription& command) {
  std::string text;
  for (const std::string& group : command.groups()) {
    text += "\n" + group + ":\n";
    for (const OptionDescription& option : command.options) {
      if (option.group == group) text += wrapped(head_of(option), text_of(option));
    }
  }
  return text;
}

}  // namespace

const std::vector<std::string>& exit_code_lines() {
  static const std::vector<std::string> lines = {
      "0 success, 1 check failed, 2 usage error, 3 invalid input, 4 out of resources,",
      "5 the folder contains a different run, 70 bug, 129/130/143 interrupted"};
  return lines;
}

std::string command_help(const CommandDescription& command) {
  std::string text = fmt::format("{}\n\nUsage: {}\n", command.summary, command.usage());
  text += options_text(command);
  if (!command.examples.empty()) text += "\nExamples:\n";
  for (const Example& example : command.examples) {
    text += fmt::format("  # {}\n  {} {}\n", example.purpose, kToolName, example.arguments);
  }
  return text;
}

std::string program_help(const CommandDescription& program, const std::vector<Command>& commands) {
  std::string text = fmt::format("{}\n\nUsage: {} [OPTIONS] COMMAND [OPTIONS]\n\nCommands:\n",
                                 program.summary, kToolName);
  for (const CommandDescription& command : describe(commands)) {
    text += wrapped("  " + command.name, command.summary);
  }
  text += options_text(program);
  return text + fmt::format("\nExit codes:\n  {}\n", fmt::join(exit_code_lines(), "\n  "));
}

}  // namespace indexcache
