// SPDX-License-Identifier: Apache-2.0
// Error codes of the operating system as errors of this program.
#pragma once

#include "core/error.h"

#include <filesystem>
#include <optional>
#include <string>

namespace indexcache {

// What to try if `error` (an errno) means that the system ran out of something or that a disk
// failed; nullopt if the file or its path is at fault. `elsewhere` is how to use another disk.
std::optional<std::string> resource_remedy(int error,
                                           const std::string& elsewhere = "use another folder");

// The error of a path that could not even be examined: a loop of links, a folder without
// permission.
Error unusable_path(const std::filesystem::path& path, int error);

// Throws ResourceError for such codes, and InputError with `remedy` for all others. A link to a
// file that does not exist is reported as an incomplete download.
[[noreturn]] void fail_opening(const std::filesystem::path& path, int error,
                               const std::string& remedy);

// Throws for a file that could not be written, with the same codes; `error` is 0 if the system gave
// no reason, which counts as a resource.
[[noreturn]] void fail_writing(const std::filesystem::path& path, int error);

}  // namespace indexcache
