// SPDX-License-Identifier: Apache-2.0
#include "io/text_stream.h"

#include "core/error.h"
#include "io/json_dialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace indexcache {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class TextStream : public ByteStream {
 public:
  TextStream(std::unique_ptr<ByteStream> bytes, const std::string& path, LineEnds line_ends)
      : bytes_(std::move(bytes)), line_ends_(line_ends) {
    read_start();
    if (const auto encoding = wide_encoding(pending_); !encoding.empty()) {
      throw InputError({fmt::format("the file is {}, not UTF-8", encoding), path, "",
                        fmt::format("convert it: iconv -f {} -t UTF-8 FILE > NEW", encoding)});
    }
    if (pending_.starts_with(kByteOrderMark)) pending_.erase(0, kByteOrderMark.size());
  }

  std::size_t read(std::span<char> buffer) override {
    while (true) {
      const std::size_t bytes = read_bytes(buffer);
      if (bytes == 0 || line_ends_ == LineEnds::kept) return bytes;
      const std::size_t left = join_line_ends(buffer.first(bytes));
      if (left > 0) return left;
    }
  }

 private:
  void read_start() {
    char start[4];
    while (pending_.size() < sizeof(start)) {
      const std::size_t bytes =
          bytes_->read(std::span(start).first(sizeof(start) - pending_.size()));
      if (bytes == 0) return;
      pending_.append(start, bytes);
    }
  }

  std::size_t read_bytes(std::span<char> buffer) {
    if (pending_.empty()) return bytes_->read(buffer);
    const std::size_t bytes = std::min(buffer.size(), pending_.size());
    std::copy_n(pending_.begin(), bytes, buffer.begin());
    pending_.erase(0, bytes);
    return bytes;
  }

  // Removes every "\r" before a "\n". One at the end waits for what follows it.
  std::size_t join_line_ends(std::span<char> bytes) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] == '\r') {
        char next = '\0';
        if (i + 1 < bytes.size()) {
          next = bytes[i + 1];
        } else if (read_bytes({&next, 1}) == 1) {
          pending_.insert(0, 1, next);
        }
        if (next == '\n') continue;
      }
      bytes[kept++] = bytes[i];
    }
    return kept;
  }

  std::unique_ptr<ByteStream> bytes_;
  LineEnds line_ends_;
  std::string pending_;  // read, but not given out
};

}  // namespace

std::unique_ptr<ByteStream> open_text_stream(const std::filesystem::path& path,
                                             LineEnds line_ends) {
  return std::make_unique<TextStream>(open_stream(path), path.string(), line_ends);
}

}  // namespace indexcache
