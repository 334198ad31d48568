// SPDX-License-Identifier: Apache-2.0
#include "io/byte_stream.h"

#include "core/error.h"
#include "io/system_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>
#include <zlib.h>
#include <zstd.h>

namespace indexcache {
namespace {

constexpr std::size_t kStreamBytes = 1 << 18;
constexpr const char* kCheckPath = "check the path and its permissions";

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(const std::filesystem::path& path) : path_(path.string()) {
    // Opening a pipe would wait for a writer, and it could not be read twice.
    if (std::filesystem::is_directory(path)) fail("it is a folder");
    if (std::filesystem::is_fifo(path)) fail("it is a pipe; a file is needed");
    file_ = std::fopen(path.c_str(), "rb");
    if (file_ == nullptr) fail_opening(path_, errno, kCheckPath);
  }
  ~PlainStream() override {
    if (file_ != nullptr) std::fclose(file_);
  }
  PlainStream(const PlainStream&) = delete;
  PlainStream& operator=(const PlainStream&) = delete;

  std::size_t read(std::span<char> buffer) override {
    const std::size_t bytes = std::fread(buffer.data(), 1, buffer.size(), file_);
    if (bytes == 0 && std::ferror(file_) != 0) fail_opening(path_, errno, kCheckPath);
    return bytes;
  }

  void rewind() { std::rewind(file_); }

  [[noreturn]] void fail(const std::string& why) const {
    throw InputError({"cannot read a file", path_, why, kCheckPath});
  }
  [[noreturn]] void fail_unpacking(const std::string& why) const {
    throw InputError({"cannot unpack a file", path_, why, "check that the file is complete"});
  }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
};

class GzipStream : public ByteStream {
 public:
  explicit GzipStream(std::unique_ptr<PlainStream> packed) : packed_(std::move(packed)) {
    constexpr int kGzipWindow = 15 + 16;
    if (inflateInit2(&state_, kGzipWindow) != Z_OK) packed_->fail_unpacking("out of memory");
  }
  ~GzipStream() override { inflateEnd(&state_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  std::size_t read(std::span<char> buffer) override {
    state_.next_out = reinterpret_cast<Bytef*>(buffer.data());
    state_.avail_out = static_cast<uInt>(buffer.size());
    while (state_.avail_out == buffer.size()) {
      if (state_.avail_in == 0 && !fill()) {
        if (inside_) packed_->fail_unpacking("the gzip data ends too early");
        return 0;
      }
      inside_ = true;
      const int status = inflate(&state_, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {
        inside_ = false;
        inflateReset(&state_);  // another member may follow
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        packed_->fail_unpacking(state_.msg != nullptr ? state_.msg : "the gzip data is damaged");
      }
    }
    return buffer.size() - state_.avail_out;
  }

 private:
  bool fill() {
    state_.next_in = reinterpret_cast<Bytef*>(input_.data());
    state_.avail_in = static_cast<uInt>(packed_->read(input_));
    return state_.avail_in > 0;
  }

  std::unique_ptr<PlainStream> packed_;
  std::vector<char> input_ = std::vector<char>(kStreamBytes);
  z_stream state_{};
  bool inside_ = false;
};

class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(std::unique_ptr<PlainStream> packed)
      : packed_(std::move(packed)), state_(ZSTD_createDStream(), ZSTD_freeDStream) {}

  std::size_t read(std::span<char> buffer) override {
    ZSTD_outBuffer output{buffer.data(), buffer.size(), 0};
    while (output.pos == 0) {
      if (pending_.pos == pending_.size && !more_inside_) {
        pending_ = {input_.data(), packed_->read(input_), 0};
        if (pending_.size == 0) {
          if (inside_) packed_->fail_unpacking("the zstd data ends too early");
          return 0;
        }
      }
      const std::size_t status = ZSTD_decompressStream(state_.get(), &output, &pending_);
      if (ZSTD_isError(status) != 0) packed_->fail_unpacking(ZSTD_getErrorName(status));
      inside_ = status != 0;
      more_inside_ = output.pos == output.size;  // what did not fit comes before new input
    }
    return output.pos;
  }

 private:
  std::unique_ptr<PlainStream> packed_;
  std::vector<char> input_ = std::vector<char>(kStreamBytes);
  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> state_;
  ZSTD_inBuffer pending_{nullptr, 0, 0};
  bool inside_ = false;
  bool more_inside_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> open_stream(const std::filesystem::path& path) {
  auto file = std::make_unique<PlainStream>(path);
  char magic[4] = {};
  const std::size_t read = file->read(magic);
  file->rewind();
  if (read >= 2 && std::memcmp(magic, "\x1F\x8B", 2) == 0) {
    return std::make_unique<GzipStream>(std::move(file));
  }
  if (read == 4 && std::memcmp(magic, "\x28\xB5\x2F\xFD", 4) == 0) {
    return std::make_unique<ZstdStream>(std::move(file));
  }
  return file;
}

std::filesystem::path without_packing(const std::filesystem::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool packed = ending == ".gz" || ending == ".zst";
  return packed ? std::filesystem::path(path).replace_extension() : path;
}

std::string read_all(ByteStream& stream) {
  std::string content;
  std::vector<char> buffer(kStreamBytes);
  while (const std::size_t bytes = stream.read(buffer)) content.append(buffer.data(), bytes);
  return content;
}

PieceReader::PieceReader(ByteStream& stream, std::string separator)
    : stream_(stream), separator_(std::move(separator)) {}

bool PieceReader::refill() {
  if (ended_) return false;
  buffer_.erase(0, start_);
  start_ = 0;
  const std::size_t kept = buffer_.size();
  buffer_.resize(kept + kStreamBytes);
  const std::size_t bytes = stream_.read(std::span(buffer_).subspan(kept));
  buffer_.resize(kept + bytes);
  ended_ = bytes == 0;
  return !ended_;
}

bool PieceReader::next(std::string& piece) {
  std::size_t searched = start_;
  while (true) {
    const std::size_t end = buffer_.find(separator_, searched);
    if (end != std::string::npos) {
      piece.assign(buffer_, start_, end - start_);
      start_ = end + separator_.size();
      return true;
    }
    // A separator may lie across two buffers.
    const std::size_t overlap = std::min(buffer_.size() - start_, separator_.size() - 1);
    searched = buffer_.size() - overlap - start_;  // start_ becomes 0
    if (!refill()) break;
  }
  piece.assign(buffer_, start_);
  start_ = buffer_.size();
  return !piece.empty();
}

}  // namespace indexcache
