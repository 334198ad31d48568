// SPDX-License-Identifier: Apache-2.0
#include "calibration/token_spool.h"

#include "core/error.h"
#include "io/files.h"
#include "io/system_failure.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <unistd.h>

namespace indexcache {
namespace {

std::string folder() {
  const char* named = std::getenv("TMPDIR");
  return named != nullptr && *named != '\0' ? named : "/tmp";
}

[[noreturn]] void fail_spool(int error) {
  constexpr const char* kElsewhere = "set TMPDIR to another folder";
  throw ResourceError({"token ids cannot be kept in a temporary file", folder(),
                       std::strerror(error),
                       resource_remedy(error, kElsewhere).value_or(kElsewhere)});
}

}  // namespace

TokenSpool::TokenSpool() {
  std::string path = folder() + "/indexcache-tokens-XXXXXX";
  file_ = mkstemp(path.data());
  if (file_ < 0) fail_spool(errno);
  unlink(path.c_str());
}

TokenSpool::~TokenSpool() {
  close(file_);
}

void TokenSpool::append(std::span<const std::int32_t> ids) {
  const int error = write_all(file_, {reinterpret_cast<const char*>(ids.data()), ids.size_bytes()});
  if (error != 0) fail_spool(error);
  size_ += static_cast<std::int64_t>(ids.size());
}

void TokenSpool::read(std::int64_t first, std::int64_t count,
                      std::vector<std::int32_t>& out) const {
  constexpr std::int64_t kBytes = sizeof(std::int32_t);
  const std::size_t before = out.size();
  out.resize(before + static_cast<std::size_t>(count));
  auto* bytes = reinterpret_cast<char*>(out.data() + before);
  std::int64_t done = 0;
  while (done < count * kBytes) {
    const ssize_t got = pread(file_, bytes + done, static_cast<std::size_t>(count * kBytes - done),
                              first * kBytes + done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_spool(got < 0 ? errno : EIO);
    done += got;
  }
}

}  // namespace indexcache
