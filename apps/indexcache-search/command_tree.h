// SPDX-License-Identifier: Apache-2.0
// Commands and options as data, read from CLI11 once: what help texts, shell completions and
// manual pages are made from, so that they cannot disagree.
#pragma once

#include "commands.h"

#include <string>
#include <vector>

namespace indexcache {

struct OptionDescription {
  std::string name;                    // "keep", as in settings files
  std::vector<std::string> spellings;  // "-k", "--keep"; empty: positional
  // "N|A/B": alternatives; lower-case ones are meant literally, others are placeholders. Empty for
  // a flag.
  std::string type;
  std::string text;
  std::string fallback;  // the default value; empty: none, or the text describes it
  std::string group;
  bool required = false;
  bool repeats = false;

  bool is_positional() const { return spellings.empty(); }
  // Values to type as they are: "auto", "cpu", …
  std::vector<std::string> literals() const;
  bool takes_file() const;
  bool takes_folder() const;
};

struct CommandDescription {
  std::string name;
  std::string summary;
  std::vector<OptionDescription> options;  // in groups, in the order in which they were added
  std::vector<Example> examples;

  // "indexcache-search run [OPTIONS] MODEL -c FILE -o DIR"
  std::string usage() const;
  // Groups in order of their first option.
  std::vector<std::string> groups() const;
};

// Commands that are listed, in order.
std::vector<CommandDescription> describe(const std::vector<Command>& commands);

CommandDescription describe(const Command& command);

// The program itself, whose options come before a command's name.
CommandDescription describe_program(const CLI::App& app);

}  // namespace indexcache
