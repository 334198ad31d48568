// SPDX-License-Identifier: Apache-2.0
// Where the value of an option comes from: command line over --config file (the later over the
// earlier) over environment (INDEXCACHE_<OPTION>) over default.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace indexcache {

// Adds --config and --print-config to a subcommand; merge_settings reads them.
void add_settings_options(CLI::App& command);

// Fills the options that the command line left open. Throws UsageError for a key that is no option
// (naming the nearest), a value that does not fit, or a required option that nothing gives. Returns
// true when --print-config asked to print the merged settings, which is then done.
bool merge_settings(CLI::App& command, const std::vector<std::string>& required);

}  // namespace indexcache
