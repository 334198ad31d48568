// SPDX-License-Identifier: Apache-2.0
#include "command_log.h"

#include "command_tree.h"
#include "core/error.h"
#include "core/progress.h"
#include "core/quote.h"
#include "core/shell_quote.h"
#include "io/log_file.h"
#include "version.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

namespace indexcache {
namespace {

constexpr std::size_t kCommandLineBytes = 2000;

// Symbolic links and ".." are followed as far as the path exists.
std::filesystem::path canonical(const std::string& path) {
  std::error_code error;
  auto result = std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  return error ? std::filesystem::path(path) : result;
}

void check_other_options(const Command& command, const std::string& file) {
  const std::filesystem::path log = canonical(file);
  for (const OptionDescription& option : describe(command).options) {
    if (option.name == "log-file" || !(option.takes_file() || option.takes_folder())) continue;
    const std::string shown = option.is_positional() ? option.type : option.spellings.back();
    for (const std::string& value :
         command.app->get_option(option.is_positional() ? option.name : option.spellings.back())
             ->results()) {
      if (value.empty() || canonical(value) != log) continue;
      throw InputError({"the log file cannot be used", file, shown + " names the same file",
                        "choose another --log-file"});
    }
  }
}

std::string command_line(const std::vector<std::string>& arguments) {
  std::string text = kToolName;
  for (const std::string& argument : arguments) text += " " + shell_quoted(argument);
  return bounded(std::move(text), kCommandLineBytes);
}

}  // namespace

void CommandLog::begin(const Command& command, const CommonOptions& common,
                       const std::vector<std::string>& arguments) {
  const LogFormat format = parse_log_format(common.log.format);
  set_log_format(format);
  const LogRecord first{
      .message = command_line(arguments),
      .fields = {{"command", command.app->get_name()}, {"version", kToolVersion}}};
  if (!common.log.file.empty()) {
    check_other_options(command, common.log.file);
    open_log_file(common.log.file, format, first);
  }
  quiet_ = common.quiet;
  begin_ = Clock::now();
  if (!quiet_) show_record(first, "");
}

void CommandLog::end(int exit_code) const {
  if (!begin_) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - *begin_).count();
  const LogRecord last{
      .message = fmt::format("exit code {} after {}", exit_code, format_duration(seconds)),
      .fields = {{"exit_code", exit_code}, {"seconds", std::int64_t{std::lround(seconds)}}}};
  write_file_record(last);
  if (!quiet_) show_record(last, "");
}

}  // namespace indexcache
