// SPDX-License-Identifier: Apache-2.0
// Narration as records. Each goes to standard error, as text or as one JSON object per line, and to
// the log file if there is one. Records are no results: their times are those of the clock.
//
// A line of the file is written by one write to its end, so a kill loses no finished line, and
// several processes may share a file. Nothing here throws: a file that can no longer be written is
// reported once, and the work goes on without it.
#pragma once

#include "core/error.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace indexcache {

enum class LogLevel { info, warning, error, progress };
enum class LogFormat { text, json };

struct LogField {
  std::string name;
  std::variant<std::int64_t, std::string> value;
};

struct LogRecord {
  LogLevel level = LogLevel::info;
  std::string message;                // may have several lines
  std::vector<LogField> fields = {};  // what JSON has besides the message
  std::string details = {};           // further lines of texts, if JSON has them as fields
  std::chrono::system_clock::time_point time = std::chrono::system_clock::now();
};

// With the exit code and the kind of the error, and with the place, cause and remedy that are
// known.
LogRecord record_of(const Error& error);

// A record as it is written to a file, with its line ends. Text has the time, process and level on
// every line. Bytes that are not UTF-8 become U+FFFD, and control characters are escaped.
std::string log_lines(const LogRecord& record, LogFormat format, std::int64_t process);

// Whether a file that begins with these bytes can be a log in this format.
bool begins_log(std::string_view bytes, LogFormat format);

// The format of standard error and of the log file; text unless set.
void set_log_format(LogFormat format);

// Writes the first record, after a line end if the file does not end with one. From then on the
// file gets every record. Returns 0, or the errno of the write that failed; the file is then
// closed.
int start_log_file(int descriptor, std::string name, const LogRecord& first);

// Whether records go to this file.
bool is_log_file(const std::string& path);

// To the file and to standard error, which shows `text` instead if its format is text.
void write_record(const LogRecord& record, std::string_view text);
// The same, where the text is that of the record: "warning: …", "error: …".
void write_record(const LogRecord& record);

// Only to the file: what --quiet keeps from standard error.
void write_file_record(const LogRecord& record);
// Only to standard error.
void show_record(const LogRecord& record, std::string_view text);

// Only to standard error, and only if its format is text: what is meant for a terminal or a CI
// runner.
void narrate(std::string_view text);
// A line that is replaced by the next, on a terminal.
void narrate_passing(std::string_view line);

template <typename... T>
void narrate(fmt::format_string<T...> format, T&&... arguments) {
  narrate(std::string_view(fmt::format(format, std::forward<T>(arguments)...)));
}

}  // namespace indexcache
