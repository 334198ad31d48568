// SPDX-License-Identifier: Apache-2.0
// Shell completion, from the command tree.
#pragma once

#include "command_tree.h"

#include <string>
#include <vector>

namespace indexcache {

// Scripts to load, for the options before a command's name and for the commands: bash and fish
// source them; zsh finds _indexcache-search in its fpath.
std::string bash_completion(const CommandDescription& program,
                            const std::vector<CommandDescription>& commands);
std::string zsh_completion(const CommandDescription& program,
                           const std::vector<CommandDescription>& commands);
std::string fish_completion(const CommandDescription& program,
                            const std::vector<CommandDescription>& commands);

}  // namespace indexcache
