// SPDX-License-Identifier: Apache-2.0
#include "io/folder_lock.h"

#include "core/error.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace indexcache {

FolderLock::FolderLock(const std::filesystem::path& folder)
    : descriptor_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ >= 0 && flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  if (descriptor_ >= 0) close(descriptor_);
  throw ResourceError({error == EWOULDBLOCK ? "the folder is in use by another process"
                                            : "the folder cannot be locked",
                       folder.string(), std::strerror(error),
                       "wait for it, or choose another --output"});
}

FolderLock::~FolderLock() {
  close(descriptor_);
}

}  // namespace indexcache
