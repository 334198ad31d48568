// SPDX-License-Identifier: Apache-2.0
// The folder that a command writes into.
#pragma once

#include <filesystem>
#include <string>

namespace indexcache {

// Makes the folder and those above it. Throws InputError; `option` named it.
void make_folder(const std::filesystem::path& folder, const std::string& option = "--output");

// Makes the folder and checks that it can be written. A folder that holds other files, but nothing
// of this tool (none of `own_files`), is refused with InputError: nothing of theirs can then be
// overwritten.
void prepare_folder(const std::filesystem::path& folder,
                    const std::initializer_list<const char*>& own_files);

}  // namespace indexcache
