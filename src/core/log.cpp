// SPDX-License-Identifier: Apache-2.0
#include "core/log.h"

#include "core/console.h"
#include "core/utf8.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-log/1";
constexpr std::string_view kJsonStart = R"({"time":")";

LogFormat log_format = LogFormat::text;
int log_file = -1;
std::string log_file_name;

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
    case LogLevel::progress:
      return "progress";
  }
  return "";
}

const char* name_of(ExitCode code) {
  switch (code) {
    case ExitCode::usage:
      return "usage";
    case ExitCode::input:
      return "input";
    case ExitCode::resource:
      return "resource";
    case ExitCode::resume_mismatch:
      return "resume-mismatch";
    default:
      return "internal";
  }
}

// RFC 3339, in UTC.
std::string time_text(std::chrono::system_clock::time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  const auto milliseconds = since.count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(static_cast<std::time_t>(since.count() / 1000)), milliseconds);
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : printable_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string json_value(const std::variant<std::int64_t, std::string>& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  return json_string(std::get<std::string>(value));
}

std::string json_line(const LogRecord& record, std::int64_t process) {
  std::string line =
      fmt::format(R"({}{}","level":"{}","message":{})", kJsonStart, time_text(record.time),
                  name_of(record.level), json_string(record.message));
  for (const LogField& field : record.fields) {
    line += fmt::format(",{}:{}", json_string(field.name), json_value(field.value));
  }
  return line + fmt::format(R"(,"pid":{},"schema":"{}"}})", process, kSchema) + "\n";
}

// One line: a message can neither forge another record nor change a terminal that shows the file.
std::string escaped(std::string_view line) {
  std::string out;
  for (const char c : printable_utf8(line)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool control = (byte < 0x20 && c != '\t') || byte == 0x7F;
    out += control ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return out;
}

std::string text_of(const LogRecord& record) {
  return record.details.empty() ? record.message : record.message + "\n" + record.details;
}

std::string text_lines(const LogRecord& record, std::int64_t process) {
  const std::string head =
      fmt::format("{} {} {:<8} ", time_text(record.time), process, name_of(record.level));
  const std::string text = text_of(record);
  std::string lines;
  std::size_t at = 0;
  do {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines += head + escaped(std::string_view(text).substr(at, end - at)) + "\n";
    at = end + 1;
  } while (at < text.size());
  return lines;
}

std::string lines_of(const LogRecord& record) {
  return log_lines(record, log_format, getpid());
}

// 0, or an errno. A line that is cut here has met a full disk or a pipe whose reader is gone.
int write_whole(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      return 0;  // the reader of a pipe that is too slow misses this record
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

std::string shown_text(const LogRecord& record) {
  const bool named = record.level == LogLevel::warning || record.level == LogLevel::error;
  std::string text =
      named ? fmt::format("{}: {}", name_of(record.level), text_of(record)) : text_of(record);
  if (!text.ends_with('\n')) text += '\n';
  return text;
}

bool ends_within_line(int descriptor) {
  struct stat status {};
  char last = '\n';
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) {
    return false;
  }
  return pread(descriptor, &last, 1, status.st_size - 1) == 1 && last != '\n';
}

}  // namespace

LogRecord record_of(const Error& error) {
  const Problem& problem = error.problem();
  const std::size_t first_line = std::string_view("error: \n").size() + problem.what.size();
  LogRecord record{.level = LogLevel::error,
                   .message = problem.what,
                   .fields = {{"kind", name_of(error.code())},
                              {"exit_code", static_cast<std::int64_t>(error.code())}},
                   .details = error.describe().substr(first_line)};
  const auto add = [&](const char* name, const std::string& text) {
    if (!text.empty()) record.fields.push_back({name, text});
  };
  add("at", problem.where);
  add("why", problem.why);
  add("try", problem.remedy);
  return record;
}

std::string log_lines(const LogRecord& record, LogFormat format, std::int64_t process) {
  return format == LogFormat::json ? json_line(record, process) : text_lines(record, process);
}

bool begins_log(std::string_view bytes, LogFormat format) {
  static constexpr std::string_view kTime = "0000-00-00T00:00:00.000Z";
  if (format == LogFormat::json) {
    if (!bytes.starts_with(kJsonStart)) return false;
    bytes.remove_prefix(kJsonStart.size());
  }
  if (bytes.size() < kTime.size()) return false;
  return std::ranges::equal(kTime, bytes.substr(0, kTime.size()), [](char shape, char c) {
    return shape == '0' ? std::isdigit(static_cast<unsigned char>(c)) != 0 : shape == c;
  });
}

void set_log_format(LogFormat format) {
  log_format = format;
}

int start_log_file(int descriptor, std::string name, const LogRecord& first) {
  const char* separator = ends_within_line(descriptor) ? "\n" : "";
  if (const int error = write_whole(descriptor, separator + lines_of(first))) {
    close(descriptor);
    return error;
  }
  log_file = descriptor;
  log_file_name = std::move(name);
  return 0;
}

bool is_log_file(const std::string& path) {
  struct stat log {};
  struct stat other {};
  return log_file >= 0 && fstat(log_file, &log) == 0 && stat(path.c_str(), &other) == 0 &&
         log.st_dev == other.st_dev && log.st_ino == other.st_ino;
}

void write_record(const LogRecord& record, std::string_view text) {
  write_file_record(record);
  show_record(record, text);
}

void write_record(const LogRecord& record) {
  write_record(record, shown_text(record));
}

void write_file_record(const LogRecord& record) {
  if (log_file < 0) return;
  const int error = write_whole(log_file, lines_of(record));
  if (error == 0) return;
  close(log_file);
  log_file = -1;
  write_record({.level = LogLevel::warning,
                .message = fmt::format("the log file {} can no longer be written ({}): the command "
                                       "continues without it",
                                       log_file_name, std::strerror(error))});
}

void show_record(const LogRecord& record, std::string_view text) {
  if (log_format == LogFormat::json) {
    write_narration(lines_of(record));
  } else if (!text.empty()) {
    write_narration(text);
  }
}

void narrate(std::string_view text) {
  if (log_format == LogFormat::text) write_narration(text);
}

void narrate_passing(std::string_view line) {
  if (log_format == LogFormat::text) write_passing_narration(line);
}

}  // namespace indexcache
