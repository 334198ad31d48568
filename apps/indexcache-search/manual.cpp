// SPDX-License-Identifier: Apache-2.0
#include "manual.h"

#include "help.h"
#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace indexcache {
namespace {

// Text in which nothing is a request or an escape of roff.
std::string roff(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      out += "\\e";
    } else if (text[i] == '-') {
      out += "\\-";
    } else if ((i == 0 || text[i - 1] == '\n') && (text[i] == '.' || text[i] == '\'')) {
      out += "\\&";
      out += text[i];
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string title(const std::string& name) {
  return fmt::format(".TH {} 1 \"\" \"{} {}\" \"User Commands\"\n", upper(name), kToolName,
                     kToolVersion);
}

std::string roff_option(const OptionDescription& option) {
  std::string head =
      option.is_positional()
          ? ""
          : "\\fB" + roff(fmt::format("{}", fmt::join(option.spellings, ", "))) + "\\fR";
  if (!option.type.empty()) {
    head += fmt::format("{}\\fI{}\\fR", head.empty() ? "" : " ", roff(option.type));
  }
  std::string text = roff(option.text);
  if (option.required) text += " (required)";
  if (!option.fallback.empty()) text += fmt::format(" [default: {}]", roff(option.fallback));
  return fmt::format(".TP\n{}\n{}\n", head, text);
}

std::string exit_status() {
  return fmt::format(".SH EXIT STATUS\n{}\n",
                     roff(fmt::format("{}", fmt::join(exit_code_lines(), "\n"))));
}

}  // namespace

std::string program_page(const CommandDescription& program,
                         const std::vector<CommandDescription>& commands) {
  std::string text = title(kToolName);
  text += fmt::format(".SH NAME\n{} \\- find index-sharing patterns for sparse-attention models\n",
                      roff(kToolName));
  text +=
      fmt::format(".SH SYNOPSIS\n\\fB{}\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n",
                  roff(kToolName));
  text += fmt::format(".SH DESCRIPTION\n{}.\n.SH COMMANDS\n", roff(program.summary));
  for (const CommandDescription& command : commands) {
    text += fmt::format(".TP\n\\fB{}-{}\\fR(1)\n{}\n", roff(kToolName), roff(command.name),
                        roff(command.summary));
  }
  text += ".SH OPTIONS\n";
  for (const OptionDescription& option : program.options) text += roff_option(option);
  return text + exit_status();
}

std::string command_page(const CommandDescription& command) {
  const std::string name = fmt::format("{}-{}", kToolName, command.name);
  std::string text = title(name);
  text += fmt::format(".SH NAME\n{} \\- {}\n", roff(name), roff(command.summary));
  text += fmt::format(".SH SYNOPSIS\n{}\n.SH OPTIONS\n", roff(command.usage()));
  for (const std::string& group : command.groups()) {
    text += fmt::format(".SS {}\n", roff(group));
    for (const OptionDescription& option : command.options) {
      if (option.group == group) text += roff_option(option);
    }
  }
  if (!command.examples.empty()) text += ".SH EXAMPLES\n";
  for (const Example& example : command.examples) {
    text += fmt::format(".TP\n{}\n\\fB{} {}\\fR\n", roff(example.purpose), roff(kToolName),
                        roff(example.arguments));
  }
  return text + exit_status() + fmt::format(".SH SEE ALSO\n\\fB{}\\fR(1)\n", roff(kToolName));
}

std::string markdown_reference(const std::vector<CommandDescription>& commands) {
  std::string text;
  for (const CommandDescription& command : commands) {
    text += fmt::format("{}### {}\n\n```\n{}```\n", text.empty() ? "" : "\n", command.name,
                        command_help(command));
  }
  return text;
}

}  // namespace indexcache
