// SPDX-License-Identifier: Apache-2.0
// Opens the file of --log-file.
#pragma once

#include "core/log.h"

#include <filesystem>

namespace indexcache {

// Appends records to this file from now on, beginning with `first`. The folders above it are made.
// Throws InputError or ResourceError if it cannot be written, or if it has a content that is no log
// in this format and would be damaged.
void open_log_file(const std::filesystem::path& path, LogFormat format, const LogRecord& first);

// Whether this is a file that begins like a log, in any format.
bool is_log(const std::filesystem::path& path);

}  // namespace indexcache
