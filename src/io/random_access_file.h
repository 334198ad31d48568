// SPDX-License-Identifier: Apache-2.0
// A file that is read at any place, by any number of threads at once. Plain reads, no mapping: a
// file that shrinks or a disk that goes away is an error then, not a signal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace indexcache {

class RandomAccessFile {
 public:
  // Throws InputError when the file cannot be opened or is not a regular file, and ResourceError
  // when the system has run out of something or the disk fails.
  explicit RandomAccessFile(const std::filesystem::path& path);
  RandomAccessFile(RandomAccessFile&& other) noexcept;
  RandomAccessFile(const RandomAccessFile&) = delete;
  RandomAccessFile& operator=(const RandomAccessFile&) = delete;
  RandomAccessFile& operator=(RandomAccessFile&&) = delete;
  ~RandomAccessFile();

  const std::filesystem::path& path() const { return path_; }
  std::int64_t size() const { return size_; }  // when it was opened

  // Fills `out` with the bytes from `offset` on. Throws ResourceError when the system cannot read
  // them, or when the file ends before.
  void read(std::int64_t offset, std::span<std::byte> out) const;

  // Tells the system that these bytes need not stay in its cache.
  void forget(std::int64_t offset, std::int64_t bytes) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  std::int64_t size_ = 0;
};

}  // namespace indexcache
