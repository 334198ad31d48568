// SPDX-License-Identifier: Apache-2.0
// Lengths of the requests that a user serves: JSON lines, or CSV with a header; a row per request,
// or a histogram (docs/profile.md).
#pragma once

#include "io/byte_stream.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace indexcache {

// Requests with prompts of the same length.
struct LengthCount {
  std::int64_t prompt;  // tokens, at least 1
  std::int64_t count;   // requests, at least 1
  std::size_t line;     // of the file: the first row with this length

  bool operator==(const LengthCount&) const = default;
};

struct Lengths {
  std::filesystem::path file;
  std::string sha256;                // of the file, unpacked
  std::vector<LengthCount> prompts;  // by rising length, at least one
  std::int64_t requests = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t output_tokens = 0;  // 0 if the file has no output lengths

  std::int64_t shortest() const { return prompts.front().prompt; }
  std::int64_t longest() const { return prompts.back().prompt; }

  bool operator==(const Lengths&) const = default;
};

// Throws InputError naming file and line for rows without a prompt length, what is no count, and a
// file without requests. gzip and zstd are unpacked.
Lengths read_lengths(const std::filesystem::path& path);
// The same of a stream; `path` names it in errors.
Lengths read_lengths(ByteStream& stream, const std::filesystem::path& path);

}  // namespace indexcache
