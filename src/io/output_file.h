// SPDX-License-Identifier: Apache-2.0
// A file that is written from its beginning to its end, a piece at a time, and copies of files.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace indexcache {

class OutputFile {
 public:
  // Makes or empties the file. Throws ResourceError when the disk refuses, as do the others, and
  // names the file `known_as` then.
  OutputFile(const std::filesystem::path& path, const std::filesystem::path& known_as);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  void write(std::span<const std::byte> bytes);
  // Call it once all is written: network file systems may report only now what they could not
  // write.
  void close();

 private:
  std::filesystem::path known_as_;
  int fd_;
};

// Replaces `to` atomically by a copy of `from`. Throws InputError when `from` cannot be read,
// ResourceError when a disk refuses, and Interrupted after a signal.
void write_copy(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace indexcache
