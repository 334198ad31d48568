// SPDX-License-Identifier: Apache-2.0
#include "calibration/token_spool.h"

#include "core/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <unistd.h>

namespace indexcache {
namespace {

[[noreturn]] void fail(const std::string& where) {
  throw ResourceError({"token ids cannot be kept in a temporary file", where, std::strerror(errno),
                       "set TMPDIR to a folder with free space"});
}

std::string folder() {
  const char* named = std::getenv("TMPDIR");
  return named != nullptr && *named != '\0' ? named : "/tmp";
}

}  // namespace

TokenSpool::TokenSpool() {
  std::string path = folder() + "/indexcache-tokens-XXXXXX";
  file_ = mkstemp(path.data());
  if (file_ < 0) fail(folder());
  unlink(path.c_str());
}

TokenSpool::~TokenSpool() {
  close(file_);
}

void TokenSpool::append(std::span<const std::int32_t> ids) {
  const auto* bytes = reinterpret_cast<const char*>(ids.data());
  std::size_t left = ids.size_bytes();
  while (left > 0) {
    const ssize_t written = write(file_, bytes, left);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(folder());
    bytes += written;
    left -= static_cast<std::size_t>(written);
  }
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
    if (got <= 0) fail(folder());
    done += got;
  }
}

}  // namespace indexcache
