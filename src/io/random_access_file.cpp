// SPDX-License-Identifier: Apache-2.0
#include "io/random_access_file.h"

#include "core/error.h"
#include "io/system_failure.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace indexcache {
namespace {

constexpr const char* kCheckDownload = "check the path, and that the download or copy is complete";

[[noreturn]] void fail_reading(const std::filesystem::path& path, const std::string& why,
                               int error) {
  throw ResourceError({"cannot read a file", path.string(), why,
                       resource_remedy(error).value_or("bring the file back") +
                           "; then run the same command again: a run continues after its last "
                           "finished wave"});
}

}  // namespace

RandomAccessFile::RandomAccessFile(const std::filesystem::path& path)
    // O_NONBLOCK: opening a pipe that nobody writes to would wait forever.
    : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (fd_ < 0) fail_opening(path, errno, kCheckDownload);
  struct stat status {};
  const int error = fstat(fd_, &status) == 0 ? 0 : errno;
  if (error == 0 && S_ISREG(status.st_mode)) {
    size_ = status.st_size;
    return;
  }
  close(fd_);
  if (error != 0) fail_opening(path, error, kCheckDownload);
  throw InputError({"cannot read a file", path.string(),
                    S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file",
                    kCheckDownload});
}

RandomAccessFile::RandomAccessFile(RandomAccessFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

RandomAccessFile::~RandomAccessFile() {
  if (fd_ >= 0) close(fd_);
}

void RandomAccessFile::read(std::int64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const std::int64_t at = offset + static_cast<std::int64_t>(done);
    const ssize_t count = pread(fd_, out.data() + done, out.size() - done, at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_reading(path_, std::strerror(errno), errno);
    if (count == 0) {
      fail_reading(path_,
                   fmt::format("it ends at byte {} and had {} bytes when it was opened", at, size_),
                   0);
    }
    done += static_cast<std::size_t>(count);
  }
}

void RandomAccessFile::forget(std::int64_t offset, std::int64_t bytes) const {
  static_cast<void>(posix_fadvise(fd_, offset, bytes, POSIX_FADV_DONTNEED));
}

}  // namespace indexcache
