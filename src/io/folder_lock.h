// SPDX-License-Identifier: Apache-2.0
// A folder that only one process at a time writes into.
#pragma once

#include <filesystem>

namespace indexcache {

class FolderLock {
 public:
  // Until the object is gone, or the process. Throws ResourceError if another process has it or the
  // folder cannot be opened.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace indexcache
