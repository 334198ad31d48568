// SPDX-License-Identifier: Apache-2.0
// Where the value of an option comes from: command line over --config file (the later over the
// earlier) over environment (INDEXCACHE_<OPTION>) over default.
#pragma once

#include <CLI/CLI.hpp>

#include <map>
#include <string>
#include <vector>

namespace indexcache {

// Adds --config and --print-config to a subcommand; merge_settings reads them.
void add_settings_options(CLI::App& command);

// Where the values of options came from: "file:line", "environment VARIABLE", "command line".
using Origins = std::map<std::string, std::string>;

// Fills the options that the command line left open. Throws UsageError for a key that is no option
// (naming the nearest) and for a value that does not fit.
Origins merge_settings(CLI::App& command);

// What --print-config shows, if it was given. Returns whether it was.
bool print_settings(const CLI::App& command, const Origins& origins);

// Throws UsageError if nothing gives some of these options, and names all of them.
void require_settings(const CLI::App& command, const std::vector<std::string>& required);

// Warnings about variables of the environment that this program does not read, although their names
// suggest it: misspelled options of any of `commands` (a variable may be meant for several of them)
// and of those in `others`. Other names that begin with INDEXCACHE_ belong to scripts and to users.
std::vector<std::string> warnings_of_variables(const std::vector<const CLI::App*>& commands,
                                               const std::vector<std::string>& others);

}  // namespace indexcache
