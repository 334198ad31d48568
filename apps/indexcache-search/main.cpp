// SPDX-License-Identifier: Apache-2.0
// Parse, merge settings, dispatch; the one place where errors become messages and exit codes.
#include "backend/cpu/isa.h"
#include "build_text.h"
#include "command_log.h"
#include "command_tree.h"
#include "commands.h"
#include "core/allocator.h"
#include "core/console.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/nearest_name.h"
#include "core/open_files.h"
#include "help.h"
#include "io/system_failure.h"
#include "option_values.h"
#include "ranks/launcher.h"
#include "settings.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>

namespace indexcache {
namespace {

int report(const Error& error) {
  write_record(record_of(error));
  return static_cast<int>(error.code());
}

int report_usage(const std::string& what, const std::string& why, const std::string& command) {
  const std::string help = fmt::format("{}{} --help", kToolName, command);
  return report(UsageError({what, "command line", why, help}));
}

int report_bug(const char* what) {
  return report(InternalError({fmt::format("a bug in {} {}", kToolName, kToolVersion), "", what,
                               "report it with the command line and this message"}));
}

// The program as it was called, and what its options and commands are.
struct Program {
  explicit Program(std::vector<std::string> given);

  std::vector<std::string> arguments;  // without the program's name
  CLI::App app{
      "Find out which layers of a sparse-attention model can reuse another layer's top-k "
      "selection"};
  CommonOptions common;
  std::vector<Command> commands;
};

// An exception as the exit code that it leads to.
int code_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return static_cast<int>(error.code());
  } catch (const Interrupted& interruption) {
    return 128 + interruption.signal();
  } catch (...) {
    return static_cast<int>(ExitCode::internal);
  }
}

// A command of a job with several ranks: a failure of one of them is reported once, by rank 0.
int run_on_rank(const Command& command, const CommonOptions& common) {
  try {
    return command.run();
  } catch (const RankDismissed& dismissed) {
    return dismissed.code;
  } catch (...) {
    if (!common.ranks) throw;
    const std::exception_ptr cause = common.ranks->cause_of(std::current_exception());
    if (common.ranks->fail(cause)) return code_of(cause);
    std::rethrow_exception(cause);
  }
}

// Once for all ranks of a job.
void warn_of_variables(const Program& program) {
  if (launched_rank() > 0) return;
  std::vector<const CLI::App*> apps;
  for (const Command& command : program.commands) apps.push_back(command.app);
  for (const std::string& text : warnings_of_variables(apps, {cpu::kIsaVariable})) {
    const LogRecord record{.level = LogLevel::warning, .message = text};
    program.common.quiet ? write_file_record(record) : write_record(record);
  }
}

int run_command(const Program& program, CommandLog& log) {
  for (const Command& command : program.commands) {
    if (!command.app->parsed()) continue;
    const Origins origins = merge_settings(*command.app);
    if (print_settings(*command.app, origins)) {
      warn_of_variables(program);
      return 0;
    }
    log.begin(command, program.common, program.arguments);
    warn_of_variables(program);
    require_settings(*command.app, command.required);
    install_interrupt_handlers();
    return run_on_rank(command, program.common);
  }
  write_output(program_help(describe_program(program.app), program.commands));
  return static_cast<int>(ExitCode::usage);
}

const Command* parsed_command(const std::vector<Command>& commands) {
  const auto found =
      std::ranges::find_if(commands, [](const Command& command) { return command.app->parsed(); });
  return found == commands.end() ? nullptr : &*found;
}

// --help and --version, which CLI11 treats as errors.
int print_information(const Program& program, const CLI::Success& request) {
  const Command* command = parsed_command(program.commands);
  if (dynamic_cast<const CLI::CallForVersion*>(&request) != nullptr) {
    write_output(build_text());
  } else if (command != nullptr) {
    write_output(command_help(describe(*command)));
  } else {
    write_output(program_help(describe_program(program.app), program.commands));
  }
  return 0;
}

std::string did_you_mean(const std::string& name, const std::vector<std::string>& known) {
  const std::string near = nearest_name(name, known);
  return near.empty() ? "" : fmt::format("did you mean \"{}\"?", near);
}

// What CLI11 did not expect is a misspelled command or option, most of the time.
int report_unexpected(const Program& program) {
  const std::string given = program.app.remaining(true).front();
  const Command* command = parsed_command(program.commands);
  std::vector<std::string> known;
  const auto options = command == nullptr ? describe_program(program.app) : describe(*command);
  for (const OptionDescription& option : options.options) {
    known.insert(known.end(), option.spellings.begin(), option.spellings.end());
  }
  if (command == nullptr) {
    for (const CommandDescription& one : describe(program.commands)) known.push_back(one.name);
    const bool option = given.starts_with('-');
    return report_usage(fmt::format("unknown {} \"{}\"", option ? "option" : "command", given),
                        did_you_mean(given, known), "");
  }
  const std::string at = " " + command->app->get_name();
  if (!given.starts_with('-')) {
    return report_usage(fmt::format("unexpected argument \"{}\"", given), "", at);
  }
  const std::string name = given.substr(0, given.find('='));
  return report_usage(fmt::format("unknown option \"{}\"", name), did_you_mean(name, known), at);
}

int interrupted(const Interrupted& interruption, const CLI::App& app) {
  const int code = 128 + interruption.signal();
  const char* kept =
      app.got_subcommand("run")       ? "finished waves are kept; the same command continues"
      : app.got_subcommand("distill") ? "finished steps are kept; the same command continues"
                                      : "nothing was written";
  const LogRecord record{.level = LogLevel::error,
                         .message = fmt::format("interrupted: {}", kept),
                         .fields = {{"kind", "interrupted"}, {"exit_code", code}}};
  write_record(record, record.message + "\n");
  return code;
}

std::vector<Command> add_commands(CLI::App& app, CommonOptions& common) {
  return {add_inspect(app, common), add_prepare(app, common), add_plan(app, common),
          add_run(app, common),     add_distill(app, common), add_overlap(app, common),
          add_eval(app, common),    add_export(app, common),  add_check(app, common),
          add_report(app, common),  add_profile(app, common), add_bench(app, common)};
}

Program::Program(std::vector<std::string> given) : arguments(std::move(given)) {
  app.name(kToolName);
  app.set_version_flag("--version", kToolVersion)
      ->description("Show the version, and what the program was built with");
  app.get_help_ptr()->description("Show this help, or that of a command");
  app.require_subcommand(0, 1);
  add_log_options(app, common.log);
  commands = add_commands(app, common);
  commands.push_back(add_completion(app, commands));
  commands.push_back(add_manual(app, commands));
}

void parse(CLI::App& app, std::vector<std::string> arguments) {
  std::ranges::reverse(arguments);  // as CLI11 takes them
  app.parse(std::move(arguments));
}

int run_program(Program& program, CommandLog& log) {
  try {
    parse(program.app, program.arguments);
    return run_command(program, log);
  } catch (const CLI::Success& request) {
    return print_information(program, request);
  } catch (const CLI::ExtrasError&) {
    return report_unexpected(program);
  } catch (const CLI::ParseError& error) {
    const Command* command = parsed_command(program.commands);
    return report_usage(value_message(error), "", command ? " " + command->app->get_name() : "");
  } catch (const Interrupted& interruption) {
    return interrupted(interruption, program.app);
  } catch (const Error& error) {
    return report(error);
  } catch (const std::filesystem::filesystem_error& error) {
    return report(unusable_path(error.path1(), error.code().value()));
  } catch (const std::bad_alloc&) {
    return report(
        ResourceError({"out of memory", "", "", "fewer or shorter calibration sequences"}));
  } catch (const std::exception& error) {
    return report_bug(error.what());
  }
}

// The exit code of a command that ended with `code` once its output is known to have arrived.
int deliver_output(int code) {
  const int error = finish_output();
  if (error == 0) return code;
  constexpr const char* kElsewhere = "redirect it to another disk";
  const int failed =
      report(ResourceError({"cannot write to standard output", "", std::strerror(error),
                            resource_remedy(error, kElsewhere).value_or(kElsewhere)}));
  return code == 0 ? failed : code;
}

int run_main(std::vector<std::string> arguments) {
  set_log_format(requested_log_format(arguments));
  Program program(std::move(arguments));
  CommandLog log;
  const int code = deliver_output(run_program(program, log));
  if (program.common.ranks) program.common.ranks->leave(code);
  log.end(code);
  return code;
}

}  // namespace
}  // namespace indexcache

int main(int argc, char** argv) {
  indexcache::secure_standard_streams();
  indexcache::keep_freed_memory();
  indexcache::raise_open_file_limit();
  return indexcache::run_main({argv + std::min(argc, 1), argv + argc});
}
