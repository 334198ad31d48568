// SPDX-License-Identifier: Apache-2.0
// Shell completion, from the command tree.
#pragma once

#include "command_tree.h"

#include <string>
#include <vector>

namespace indexcache {

// Scripts to load: bash and fish source them; zsh finds _indexcache-search in its fpath.
std::string bash_completion(const std::vector<CommandDescription>& commands);
std::string zsh_completion(const std::vector<CommandDescription>& commands);
std::string fish_completion(const std::vector<CommandDescription>& commands);

}  // namespace indexcache
