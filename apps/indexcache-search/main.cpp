// SPDX-License-Identifier: Apache-2.0
// Parse, merge settings, dispatch; the one place where errors become messages and exit codes.
#include "commands.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/open_files.h"
#include "io/system_failure.h"
#include "settings.h"
#include "version.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <unistd.h>

namespace indexcache {
namespace {

int report(const Error& error) {
  fmt::print(stderr, "{}", error.describe());
  return static_cast<int>(error.code());
}

int report_usage(const std::string& what, const std::string& command) {
  const std::string help = fmt::format("{}{} --help", kToolName, command);
  return report(UsageError({what, "command line", "", help}));
}

int report_bug(const char* what) {
  return report(InternalError({fmt::format("a bug in {} {}", kToolName, kToolVersion), "", what,
                               "report it with the command line and this message"}));
}

int run_command(CLI::App& app, const std::vector<Command>& commands) {
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    if (merge_settings(*command.app, command.required)) return 0;  // --print-config
    install_interrupt_handlers();
    return command.run();
  }
  fmt::print("{}", app.help());
  return static_cast<int>(ExitCode::usage);
}

int interrupted(const Interrupted& interruption, bool keeps_steps) {
  fmt::print(
      stderr, "interrupted: {}\n",
      keeps_steps ? "finished waves are kept; the same command continues" : "nothing was written");
  return 128 + interruption.signal();
}

int run_main(int argc, char** argv) {
  CLI::App app{
      "Which layers of a DeepSeek-Sparse-Attention model can reuse an earlier layer's "
      "top-k indices (IndexCache)"};
  app.name(kToolName);
  app.set_version_flag("--version", fmt::format("{} {}", kToolName, kToolVersion));
  app.require_subcommand(0, 1);
  app.footer(
      "Exit codes: 0 success, 1 gate failed, 2 usage, 3 invalid input, 4 resources,\n"
      "5 other run in the folder, 70 bug, 130/143 interrupted.");
  CommonOptions common;
  const std::vector<Command> commands = {add_inspect(app, common), add_prepare(app, common),
                                         add_plan(app, common),    add_run(app, common),
                                         add_overlap(app, common), add_eval(app, common),
                                         add_export(app, common),  add_check(app, common),
                                         add_report(app, common),  add_bench(app, common)};
  std::string at;
  try {
    app.parse(argc, argv);
    return run_command(app, commands);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    for (const Command& command : commands) {
      if (command.app->parsed()) at = " " + command.app->get_name();
    }
    return report_usage(error.what(), at);
  } catch (const Interrupted& interruption) {
    return interrupted(interruption, app.got_subcommand("run"));
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

}  // namespace
}  // namespace indexcache

int main(int argc, char** argv) {
  indexcache::keep_freed_memory();
  indexcache::raise_open_file_limit();
  return indexcache::run_main(argc, argv);
}
