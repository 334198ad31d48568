// SPDX-License-Identifier: Apache-2.0
#include "io/output_file.h"

#include "core/interrupt.h"
#include "io/files.h"
#include "io/random_access_file.h"
#include "io/system_failure.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace indexcache {
namespace {

constexpr std::int64_t kPiece = std::int64_t{4} << 20;

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& path, const std::filesystem::path& known_as)
    : known_as_(known_as), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (fd_ < 0) fail_writing(known_as_, errno);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  const int error = write_all(fd_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (error != 0) fail_writing(known_as_, error);
}

void OutputFile::close() {
  if (::close(std::exchange(fd_, -1)) != 0) fail_writing(known_as_, errno);
}

void write_copy(const std::filesystem::path& from, const std::filesystem::path& to) {
  const RandomAccessFile source(from);
  replace_file(to, [&](const std::filesystem::path& temporary) {
    OutputFile file(temporary, to);
    std::vector<std::byte> buffer;
    for (std::int64_t at = 0; at < source.size(); at += kPiece) {
      check_interrupt();
      buffer.resize(static_cast<std::size_t>(std::min(source.size() - at, kPiece)));
      source.read(at, buffer);
      file.write(buffer);
    }
    file.close();
  });
}

}  // namespace indexcache
