// SPDX-License-Identifier: Apache-2.0
// A disk that fails, for LD_PRELOAD: reads of .safetensors files beyond their header return EIO
// once FAULTY_READS of them have succeeded.
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <unistd.h>

namespace {

std::atomic<long> reads{0};

bool is_shard(int fd) {
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = '\0';
  return std::strstr(path, ".safetensors") != nullptr && std::strstr(path, ".json") == nullptr;
}

ssize_t read_or_fail(int fd, void* buffer, size_t count, off_t offset) {
  using Read = ssize_t (*)(int, void*, size_t, off_t);
  static const Read real = reinterpret_cast<Read>(dlsym(RTLD_NEXT, "pread"));
  static const long limit = std::atol(std::getenv("FAULTY_READS"));
  if (offset > 8 && is_shard(fd) && reads++ >= limit) {
    errno = EIO;
    return -1;
  }
  return real(fd, buffer, count, offset);
}

}  // namespace

extern "C" ssize_t pread(int fd, void* buffer, size_t count, off_t offset) {
  return read_or_fail(fd, buffer, count, offset);
}

extern "C" ssize_t pread64(int fd, void* buffer, size_t count, off_t offset) {
  return read_or_fail(fd, buffer, count, offset);
}
