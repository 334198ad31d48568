// SPDX-License-Identifier: Apache-2.0
#include "io/files.h"

#include "core/error.h"
#include "io/random_access_file.h"
#include "io/system_failure.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace indexcache {
namespace {

// Of `path` or the folder that it is in; errors name `path`.
void sync(const std::filesystem::path& synced, int flags, const std::filesystem::path& path) {
  const int fd = open(synced.c_str(), flags | O_CLOEXEC);
  if (fd < 0) fail_writing(path, errno);
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  // Some file systems cannot sync a folder; the file itself is safe by then.
  if (result != 0 && error != EINVAL) fail_writing(path, error);
}

// Errors name `path`, which it will become.
int open_temporary(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) fail_writing(path, errno);
  return fd;
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  const RandomAccessFile file(path);
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  std::filesystem::path temporary = path;
  temporary += fmt::format(".tmp-{}", getpid());
  return temporary;
}

void commit_temporary(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  sync(temporary, O_RDONLY, path);
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) fail_writing(path, error.value());
  const std::filesystem::path folder = path.parent_path();
  sync(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY, path);
}

void discard_temporary(const std::filesystem::path& temporary) noexcept {
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);
}

int write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : EIO;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  replace_file(path, [&](const std::filesystem::path& temporary) {
    const int fd = open_temporary(temporary, path);
    const int error = write_all(fd, content);
    // Network file systems may report only now what they could not write.
    const bool closed = close(fd) == 0;
    if (error != 0 || !closed) fail_writing(path, error != 0 ? error : errno);
  });
}

void require_writable(const std::filesystem::path& path) {
  // Only the rename at the end would fail.
  if (std::filesystem::is_directory(path)) fail_writing(path, EISDIR);
  const std::filesystem::path temporary = temporary_beside(path);
  close(open_temporary(temporary, path));
  discard_temporary(temporary);
}

int append_to_file(const std::filesystem::path& path, std::string_view content) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return errno;
  const off_t size = lseek(fd, 0, SEEK_END);
  const int error = write_all(fd, content);
  const bool restored = error == 0 || size < 0 || ftruncate(fd, size) == 0;
  close(fd);
  return restored ? error : errno;
}

Sha256::Sha256() : state_(EVP_MD_CTX_new()) {
  if (EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(state_), EVP_sha256(), nullptr) != 1) {
    throw InternalError({"SHA-256 is not available", "OpenSSL", "", ""});
  }
}

Sha256::~Sha256() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(state_));
}

void Sha256::update(std::string_view bytes) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(state_), bytes.data(), bytes.size());
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(state_), digest.data(), nullptr);
  std::string text;
  for (unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return hash.hex();
}

std::string sha256(std::string_view text) {
  return sha256(std::as_bytes(std::span(text)));
}

std::string sha256_of_file(const std::filesystem::path& path) {
  const RandomAccessFile file(path);
  Sha256 hash;
  std::string buffer;
  for (std::int64_t at = 0; at < file.size(); at += std::int64_t{1} << 18) {
    buffer.resize(static_cast<std::size_t>(std::min(file.size() - at, std::int64_t{1} << 18)));
    file.read(at, std::as_writable_bytes(std::span(buffer)));
    hash.update(buffer);
  }
  return hash.hex();
}

}  // namespace indexcache
