// SPDX-License-Identifier: Apache-2.0
// completion and manual: what packages install, printed by the program itself.
#include "commands.h"
#include "completion.h"
#include "core/console.h"
#include "core/error.h"
#include "help.h"
#include "manual.h"
#include "option_values.h"
#include "settings.h"
#include "version.h"

#include <algorithm>
#include <memory>

namespace indexcache {
namespace {

int print_completion(const std::string& shell, const CLI::App& app,
                     const std::vector<Command>& commands) {
  const CommandDescription program = describe_program(app);
  const auto tree = describe(commands);
  write_output(shell == "bash"  ? bash_completion(program, tree)
               : shell == "zsh" ? zsh_completion(program, tree)
                                : fish_completion(program, tree));
  return 0;
}

std::string page_of(const std::string& name, const CLI::App& app,
                    const std::vector<CommandDescription>& tree) {
  if (name == "all") return markdown_reference(tree);
  if (name == kToolName) return program_page(describe_program(app), tree);
  const auto found = std::ranges::find(tree, name, &CommandDescription::name);
  if (found != tree.end()) return command_page(*found);
  throw UsageError({"unknown manual page \"" + name + "\"", "command line", "",
                    "the name of a command, or " + std::string(kToolName)});
}

}  // namespace

Command add_completion(CLI::App& app, const std::vector<Command>& commands) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "Print a completion script for a shell");
  {
    const OptionGroup group(*command, "Shell");
    one_of(command->add_option("shell", *shell, "Shell to print the script for")->required(),
           {"bash", "zsh", "fish"});
  }
  command->get_help_ptr()->group("General")->description("Show this help");
  add_settings_options(*command);
  return {command,
          {"shell"},
          {{"for this shell session", "completion bash >c.sh && . ./c.sh"}},
          [shell, &app, &commands] { return print_completion(*shell, app, commands); }};
}

Command add_manual(CLI::App& app, const std::vector<Command>& commands) {
  auto page = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("manual", "Print a manual page, or all options in Markdown");
  command->group("");
  add_settings_options(*command);
  command->add_option("page", *page, "A command, the program's name, or all for Markdown")
      ->required();
  return {command, {"page"}, {}, [page, &app, &commands] {
            write_output(page_of(*page, app, describe(commands)));
            return 0;
          }};
}

}  // namespace indexcache
