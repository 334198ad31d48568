// SPDX-License-Identifier: Apache-2.0
#include "core/console.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace indexcache {
namespace {

int output_error = 0;  // of the first write to standard output that failed
bool output_is_terminal = false;
bool narration_ended = false;
bool passing_line = false;

void note_output_error() {
  if (output_error == 0) output_error = errno != 0 ? errno : EIO;
}

bool reader_left(int error) {
  return error == EPIPE || (error == EIO && output_is_terminal);
}

void deliver_narration(std::string_view text) {
  while (!narration_ended && !text.empty()) {
    const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      return;  // a reader that is too slow misses this message
    } else if (errno != EINTR) {
      narration_ended = true;
    }
  }
}

}  // namespace

void secure_standard_streams() {
  // open() returns the lowest free descriptor, which is the one that was found closed.
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) open("/dev/null", O_RDWR);
  }
  std::signal(SIGPIPE, SIG_IGN);
  output_is_terminal = isatty(STDOUT_FILENO) != 0;
}

void write_output(std::string_view text) {
  if (output_error != 0) return;
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) note_output_error();
}

void write_narration(std::string_view text) {
  clear_passing_narration();
  flush_output();  // on a terminal both appear in the order in which they were written
  deliver_narration(text);
}

void write_passing_narration(std::string_view text) {
  flush_output();
  deliver_narration(fmt::format("\r\033[K{}", text));
  passing_line = true;
}

void clear_passing_narration() {
  if (passing_line) deliver_narration("\r\033[K");
  passing_line = false;
}

bool is_standard_stream(int descriptor) {
  struct stat file {};
  if (fstat(descriptor, &file) != 0 || !S_ISREG(file.st_mode)) return false;
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat other {};
    if (fstat(stream, &other) != 0) continue;
    if (other.st_dev == file.st_dev && other.st_ino == file.st_ino) return true;
  }
  return false;
}

void flush_output() {
  if (output_error != 0) return;
  errno = 0;
  if (std::fflush(stdout) != 0) note_output_error();
}

int finish_output() {
  flush_output();
  return reader_left(output_error) ? 0 : output_error;
}

}  // namespace indexcache
