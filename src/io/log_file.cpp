// SPDX-License-Identifier: Apache-2.0
#include "io/log_file.h"

#include "core/console.h"
#include "core/error.h"
#include "io/system_failure.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace indexcache {
namespace {

constexpr const char* kWhat = "cannot write the log file";

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  if (const auto resource = resource_remedy(error)) {
    throw ResourceError({kWhat, path.string(), std::strerror(error), *resource});
  }
  throw InputError({kWhat, path.string(), std::strerror(error), "choose another --log-file"});
}

// A pipe is opened without waiting for its reader, and a reader that is too slow stops no work.
int open_pipe(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0 && errno == ENXIO) {
    throw InputError({kWhat, path.string(), "it is a pipe or socket that nobody reads",
                      "start its reader first, or choose another --log-file"});
  }
  return descriptor;
}

int open_for_records(const std::filesystem::path& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) return open_pipe(path);
  std::error_code
      ignored;  // what keeps the folder from being made keeps the file from being opened
  std::filesystem::create_directories(path.parent_path(), ignored);
  return open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
}

// The beginning of a regular file, as much as is needed to recognize a log; empty for others.
std::string head_of(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) return "";
  std::string head(64, '\0');
  const ssize_t count = pread(descriptor, head.data(), head.size(), 0);
  head.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return head;
}

// Why records must not be appended to this file; nullptr if they may be.
const char* foreign_content(int descriptor, LogFormat format) {
  if (is_standard_stream(descriptor)) {
    return "standard output or standard error is redirected to the same file";
  }
  const std::string head = head_of(descriptor);
  if (head.empty() || begins_log(head, format)) return nullptr;
  return format == LogFormat::json ? "it contains something other than a log in JSON"
                                   : "it contains something other than a log in text";
}

}  // namespace

void open_log_file(const std::filesystem::path& path, LogFormat format, const LogRecord& first) {
  const int descriptor = open_for_records(path);
  if (descriptor < 0) fail(path, errno);
  if (const char* why = foreign_content(descriptor, format)) {
    close(descriptor);
    throw InputError({"the log file cannot be used", path.string(), why,
                      "choose another --log-file, or the same --log-format as before"});
  }
  if (const int error = start_log_file(descriptor, path.string(), first)) fail(path, error);
}

bool is_log(const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return false;
  const std::string head = head_of(descriptor);
  close(descriptor);
  return begins_log(head, LogFormat::text) || begins_log(head, LogFormat::json);
}

}  // namespace indexcache
