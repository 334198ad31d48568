// SPDX-License-Identifier: Apache-2.0
// --help, from the command tree.
#pragma once

#include "command_tree.h"

#include <string>
#include <vector>

namespace indexcache {

// Of the program: its commands and options. At most 100 columns, like the next.
std::string program_help(const CommandDescription& program, const std::vector<Command>& commands);

// Of one command: usage, options by group, examples.
std::string command_help(const CommandDescription& command);

// "Exit codes: 0 success, …", in lines.
const std::vector<std::string>& exit_code_lines();

}  // namespace indexcache
