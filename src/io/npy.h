// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy files of integers, row by row (NEP 1, format versions 1 to 3).
#pragma once

#include "io/byte_stream.h"

#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

class NpyReader {
 public:
  // Reads the header. `where` names the file in errors. Throws InputError unless it is a C-ordered
  // little-endian array of integers with one or two dimensions; one dimension is one row.
  NpyReader(ByteStream& stream, std::string where);

  // The next row; false after the last. Throws InputError when the file ends before it.
  bool next(std::vector<std::int64_t>& row);

 private:
  [[noreturn]] void fail(const std::string& why) const;
  void read_exactly(std::span<char> buffer);
  void parse(const std::string& header);

  ByteStream& stream_;
  std::string where_;
  bool is_signed_ = true;
  std::size_t item_bytes_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t width_ = 0;
  std::int64_t row_ = 0;
};

}  // namespace indexcache
