// SPDX-License-Identifier: Apache-2.0
// Token ids of any number of documents, in a temporary file: a corpus may be larger than memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace indexcache {

class TokenSpool {
 public:
  // In the folder that TMPDIR names, else /tmp; removed with the object or the process. Throws
  // ResourceError when it cannot be made.
  TokenSpool();
  ~TokenSpool();
  TokenSpool(const TokenSpool&) = delete;
  TokenSpool& operator=(const TokenSpool&) = delete;

  // Ids held so far.
  std::int64_t size() const { return size_; }

  // Throws ResourceError when the disk is full.
  void append(std::span<const std::int32_t> ids);

  // Appends ids [first, first + count) to `out`.
  void read(std::int64_t first, std::int64_t count, std::vector<std::int32_t>& out) const;

 private:
  int file_ = -1;
  std::int64_t size_ = 0;
};

}  // namespace indexcache
