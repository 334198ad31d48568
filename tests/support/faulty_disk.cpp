// SPDX-License-Identifier: Apache-2.0
// A disk that fails, for LD_PRELOAD.
//
// FAULTY_READS=N: reads of .safetensors files beyond their header return EIO once N have succeeded.
//
// Calls that change a disk (files opened for writing, written, cut, synced and renamed, folders
// made) are numbered from 1. FAULTY_LOG=FILE gets a line "operation path" for each; the path of a
// rename is the new one. FAULTY_CALL=N and FAULTY_ERROR=E make call N fail with that errno:
// - ENOSPC, EDQUOT: the disk is full. Half of the bytes of a write still fit, and no other bytes or
//   files after that; what is there can be cut, synced and renamed.
// - EROFS: no later call succeeds either.
// - others, such as EIO: later calls succeed.
// What was written can always be removed. Standard output counts if it is a file, standard error
// does not.
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr const char* kOutput = "standard output";

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

long number_in(const char* variable) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::atol(text) : -1;
}

std::string path_of(int fd) {
  if (fd == STDOUT_FILENO) return kOutput;
  char path[4096];
  const ssize_t length =
      readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
  return length < 0 ? "" : std::string(path, static_cast<size_t>(length));
}

bool on_disk(int fd) {
  struct stat status {};
  return fd != STDERR_FILENO && fstat(fd, &status) == 0 &&
         (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
}

void log_call(const char* operation, const std::string& path) {
  static const char* const name = std::getenv("FAULTY_LOG");
  if (name == nullptr) return;
  static const long log = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND, 0644);
  const std::string line = std::string(operation) + " " + path + "\n";
  syscall(SYS_write, log, line.data(), line.size());
}

enum class Outcome { succeeds, fails, half };

// What becomes of the next call; counts and logs it, and sets errno if it fails.
Outcome next_call(const char* operation, const std::string& path) {
  static std::atomic<long> calls{0};
  static const long faulty = number_in("FAULTY_CALL");
  static const int error = static_cast<int>(number_in("FAULTY_ERROR"));
  const long call = ++calls;
  log_call(operation, path);
  if (faulty < 0 || call < faulty) return Outcome::succeeds;
  const std::string_view name = operation;
  const bool full = error == ENOSPC || error == EDQUOT;
  if (full && call == faulty && name == "write") return Outcome::half;
  const bool needs_space = name == "write" || name == "create" || name == "mkdir";
  if (call > faulty && error != EROFS && !(full && needs_space)) return Outcome::succeeds;
  errno = error;
  return Outcome::fails;
}

bool fails(const char* operation, const std::string& path) {
  return next_call(operation, path) != Outcome::succeeds;
}

// How many of `count` bytes to write; 0 if the write fails.
size_t writable(int fd, size_t count) {
  if (count == 0 || !on_disk(fd)) return count;
  const Outcome outcome = next_call("write", path_of(fd));
  return outcome == Outcome::succeeds ? count : outcome == Outcome::half ? (count + 1) / 2 : 0;
}

int open_or_fail(const char* function, const char* path, int flags, mode_t mode) {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY && std::strncmp(path, "/dev/", 5) != 0;
  const bool opens = (flags & O_CREAT) != 0 || access(path, F_OK) == 0;
  if (writes && opens && fails("create", path)) return -1;
  return next<int(const char*, int, ...)>(function)(path, flags, mode);
}

ssize_t write_at(const char* function, int fd, const void* bytes, size_t count, off_t offset) {
  const size_t some = writable(fd, count);
  if (some == 0 && count != 0) return -1;
  return next<ssize_t(int, const void*, size_t, off_t)>(function)(fd, bytes, some, offset);
}

ssize_t read_at(const char* function, int fd, void* buffer, size_t count, off_t offset) {
  static std::atomic<long> reads{0};
  static const long limit = number_in("FAULTY_READS");
  if (limit >= 0 && offset > 8) {
    const std::string path = path_of(fd);
    const bool shard = path.find(".safetensors") != path.npos && path.find(".json") == path.npos;
    if (shard && reads++ >= limit) {
      errno = EIO;
      return -1;
    }
  }
  return next<ssize_t(int, void*, size_t, off_t)>(function)(fd, buffer, count, offset);
}

int cut(const char* function, int fd, off_t size) {
  if (on_disk(fd) && fails("cut", path_of(fd))) return -1;
  return next<int(int, off_t)>(function)(fd, size);
}

int make_temporary(const char* function, char* path) {
  return fails("create", path) ? -1 : next<int(char*)>(function)(path);
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_or_fail("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_or_fail("open64", path, flags, mode);
}

int mkstemp(char* path) {
  return make_temporary("mkstemp", path);
}

int mkstemp64(char* path) {
  return make_temporary("mkstemp64", path);
}

ssize_t write(int fd, const void* bytes, size_t count) {
  const size_t some = writable(fd, count);
  if (some == 0 && count != 0) return -1;
  return next<ssize_t(int, const void*, size_t)>("write")(fd, bytes, some);
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return write_at("pwrite", fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void* bytes, size_t count, off_t offset) {
  return write_at("pwrite64", fd, bytes, count, offset);
}

ssize_t pread(int fd, void* buffer, size_t count, off_t offset) {
  return read_at("pread", fd, buffer, count, offset);
}

ssize_t pread64(int fd, void* buffer, size_t count, off_t offset) {
  return read_at("pread64", fd, buffer, count, offset);
}

int ftruncate(int fd, off_t size) noexcept {
  return cut("ftruncate", fd, size);
}

int ftruncate64(int fd, off_t size) noexcept {
  return cut("ftruncate64", fd, size);
}

int fsync(int fd) {
  return on_disk(fd) && fails("sync", path_of(fd)) ? -1 : next<int(int)>("fsync")(fd);
}

int fdatasync(int fd) {
  return on_disk(fd) && fails("sync", path_of(fd)) ? -1 : next<int(int)>("fdatasync")(fd);
}

int rename(const char* from, const char* to) noexcept {
  return fails("rename", to) ? -1 : next<int(const char*, const char*)>("rename")(from, to);
}

int mkdir(const char* path, mode_t mode) noexcept {
  return fails("mkdir", path) ? -1 : next<int(const char*, mode_t)>("mkdir")(path, mode);
}

}  // extern "C"

namespace {

// The C library writes standard output with calls of its own, which cannot be replaced: the stream
// is, with one that writes like it.
ssize_t write_output(void*, const char* bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t written = write(STDOUT_FILENO, bytes + done, count - done);
    if (written <= 0) return 0;
    done += static_cast<size_t>(written);
  }
  return static_cast<ssize_t>(count);
}

__attribute__((constructor)) void replace_output() {
  if (!on_disk(STDOUT_FILENO)) return;
  cookie_io_functions_t functions{};
  functions.write = write_output;
  stdout = fopencookie(nullptr, "w", functions);
}

}  // namespace
