// SPDX-License-Identifier: Apache-2.0
// Files read from front to back in pieces, gzip and zstd unpacked on the way.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace indexcache {

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Fills the front of `buffer`; 0 only at the end. Throws InputError naming the file when it
  // cannot be read, or is damaged or cut off.
  virtual std::size_t read(std::span<char> buffer) = 0;
};

// What a file is packed with is decided by its first bytes, not by its name. Several gzip members
// or zstd frames follow one another as one content. Throws InputError when it cannot be opened.
std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path);

// The name without ".gz" or ".zst" in any case: "a.jsonl.gz" is a .jsonl file.
std::filesystem::path without_packing(const std::filesystem::path& path);

// Everything that is left.
std::string read_all(ByteStream& stream);

// Cuts a stream at a separator, holding one piece and one buffer at a time.
class PieceReader {
 public:
  // `separator` is not empty.
  PieceReader(ByteStream& stream, std::string separator);

  // The next piece without its separator; false at the end. A separator at the very end does not
  // begin another piece.
  bool next(std::string& piece);

 private:
  bool refill();

  ByteStream& stream_;
  std::string separator_;
  std::string buffer_;
  std::size_t start_ = 0;
  bool ended_ = false;
};

}  // namespace indexcache
