// SPDX-License-Identifier: Apache-2.0
// --log-file and --log-format.
#pragma once

#include "core/log.h"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace indexcache {

struct LogOptions {
  std::string file;
  std::string format = "text";
};

// To a command, or to the program: before the command's name they mean the same.
void add_log_options(CLI::App& app, LogOptions& options);

// Anything but "json" is text: the option checks its value.
LogFormat parse_log_format(const std::string& text);

// The format for errors of the command line itself: what the arguments or the environment ask for,
// without regard to what else they contain.
LogFormat requested_log_format(const std::vector<std::string>& arguments);

}  // namespace indexcache
