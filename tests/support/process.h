// SPDX-License-Identifier: Apache-2.0
// The program as its users run it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace indexcache::test {

struct ProcessResult {
  int code;  // exit code, or 128 + signal
  std::string out;
  std::string err;
};

// Runs indexcache-search with `arguments`; `environment` entries are NAME=VALUE.
ProcessResult run_tool(const std::vector<std::string>& arguments,
                       const std::vector<std::string>& environment = {});

// Starts it and kills it with SIGKILL after so many seconds, if it has not ended. Returns the exit
// code as above.
int run_and_kill(const std::vector<std::string>& arguments, double seconds,
                 const std::vector<std::string>& environment = {});

// Starts it, waits until `file` has at least `lines` lines (or the process ends), sends `signal`
// and waits. Returns the exit code as above.
int run_and_signal(const std::vector<std::string>& arguments, const std::filesystem::path& file,
                   std::size_t lines, int signal, const std::vector<std::string>& environment = {});

// The program with these arguments, as a command of a shell.
std::string command_line(const std::vector<std::string>& arguments);

// Runs a command of a shell; its exit code, or 128 + the signal that ended it.
int shell(const std::string& command);

}  // namespace indexcache::test
