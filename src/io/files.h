// SPDX-License-Identifier: Apache-2.0
// Whole files: read at once, replaced atomically, hashed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace indexcache {

// Throws InputError when the file cannot be read.
std::string read_file(const std::filesystem::path& path);

// Makes `produce` write a temporary file next to `path`, syncs it and renames it over `path`: a
// reader sees the old bytes or the new ones, never a part. Throws ResourceError when the disk or
// the folder refuses; the old file is then untouched.
template <typename Produce>
void replace_file(const std::filesystem::path& path, Produce produce);

void write_file(const std::filesystem::path& path, std::string_view content);

// For commands that write `path` after long work: throws what write_file would throw now if the
// path or its folder refuses. A file that is there stays as it is, and no other remains.
void require_writable(const std::filesystem::path& path);

// Appends all of `content` to a file that belongs to another program, or nothing. The error of the
// system, or 0.
int append_to_file(const std::filesystem::path& path, std::string_view content);

// Writes all bytes to an open file. The error of the system, or 0.
int write_all(int descriptor, std::string_view bytes);

// SHA-256 of bytes that come one after the other.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::string_view bytes);
  std::string hex();  // lower case; once, at the end

 private:
  void* state_;
};

// Lower-case hexadecimal SHA-256.
std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);

// Of a whole file, read in pieces. Throws InputError when it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

// Implementation of replace_file.
std::filesystem::path temporary_beside(const std::filesystem::path& path);
void commit_temporary(const std::filesystem::path& temporary, const std::filesystem::path& path);
void discard_temporary(const std::filesystem::path& temporary) noexcept;

template <typename Produce>
void replace_file(const std::filesystem::path& path, Produce produce) {
  const std::filesystem::path temporary = temporary_beside(path);
  try {
    produce(temporary);
    commit_temporary(temporary, path);
  } catch (...) {
    discard_temporary(temporary);
    throw;
  }
}

}  // namespace indexcache
