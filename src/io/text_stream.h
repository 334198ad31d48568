// SPDX-License-Identifier: Apache-2.0
// Text files of any system as UTF-8.
#pragma once

#include "io/byte_stream.h"

#include <filesystem>
#include <memory>

namespace indexcache {

enum class LineEnds {
  kept,
  unix,  // "\r\n" is read as "\n", as Python reads text
};

// A stream without the byte-order mark of UTF-8, if it has one. Throws InputError with the command
// that converts the file if it is UTF-16 or UTF-32.
std::unique_ptr<ByteStream> open_text_stream(const std::filesystem::path& path, LineEnds line_ends);

}  // namespace indexcache
