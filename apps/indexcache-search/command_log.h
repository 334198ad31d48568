// SPDX-License-Identifier: Apache-2.0
// The log of a command: its file, and the records that begin and end it.
#pragma once

#include "commands.h"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// The records around a command's work.
class CommandLog {
 public:
  // Opens the log file before any work. `arguments` follow the program's name. Throws what
  // open_log_file does, and InputError if the file is also the value of another option.
  void begin(const Command& command, const CommonOptions& common,
             const std::vector<std::string>& arguments);

  // Nothing if the work has not begun.
  void end(int exit_code) const;

 private:
  using Clock = std::chrono::steady_clock;

  bool quiet_ = false;
  std::optional<Clock::time_point> begin_;
};

}  // namespace indexcache
