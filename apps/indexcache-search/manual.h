// SPDX-License-Identifier: Apache-2.0
// Manual pages and the reference part of docs/cli.md, from the command tree.
#pragma once

#include "command_tree.h"

#include <string>
#include <vector>

namespace indexcache {

// indexcache-search.1, in the man macros of roff.
std::string program_page(const CommandDescription& program,
                         const std::vector<CommandDescription>& commands);

// indexcache-search-COMMAND.1.
std::string command_page(const CommandDescription& command);

// Every command with its options, in Markdown of at most 100 columns.
std::string markdown_reference(const std::vector<CommandDescription>& commands);

}  // namespace indexcache
