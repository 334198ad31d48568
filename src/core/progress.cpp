// SPDX-License-Identifier: Apache-2.0
#include "core/progress.h"

#include "core/console.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace indexcache {

using namespace std::chrono_literals;

namespace {

constexpr std::chrono::milliseconds kHeartbeat = 30s;

LogRecord progress_record(const std::string& stage, std::size_t done, std::size_t total,
                          std::optional<double> seconds_left) {
  LogRecord record{.level = LogLevel::progress,
                   .message = fmt::format("{}  {}", stage, done),
                   .fields = {{"stage", stage}, {"done", static_cast<std::int64_t>(done)}}};
  if (total > 0) {
    record.message += fmt::format("/{}", total);
    record.fields.push_back({"total", static_cast<std::int64_t>(total)});
  }
  if (seconds_left) {
    record.message += fmt::format("  {} left", format_duration(*seconds_left));
    record.fields.push_back({"seconds_left", std::int64_t{std::lround(*seconds_left)}});
  }
  return record;
}

}  // namespace

Progress::Style Progress::detect() {
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::string_view(term) == "dumb";
  return isatty(STDERR_FILENO) != 0 && !dumb ? Style::terminal : Style::lines;
}

void Progress::clear() {
  clear_passing_narration();
}

void Progress::tell(const LogRecord& record) {
  if (style_ == Style::off) return;
  if (!is_shown()) return write_file_record(record);
  write_record(record);
  last_print_ = Clock::now();
}

void Progress::note(const std::string& text) {
  tell({.message = text});
}

void Progress::warning(const std::string& text) {
  tell({.level = LogLevel::warning, .message = text});
}

std::optional<double> Pace::seconds_left(std::size_t done, std::size_t total,
                                         Clock::time_point now) {
  const bool begins = !start_ || done < done_;
  if (begins) start_ = now;
  done_ = done;
  if (begins || total == 0 || done == 0 || done * 20 < total) return std::nullopt;
  const double elapsed = std::chrono::duration<double>(now - *start_).count();
  return elapsed / static_cast<double>(done) * static_cast<double>(total - done);
}

void Progress::update(const std::string& stage, std::size_t done, std::size_t total) {
  if (style_ == Style::off) return;
  const auto now = Clock::now();
  const bool begins = stage != stage_;
  if (begins) pace_ = Pace();
  stage_ = stage;
  const auto left = pace_.seconds_left(done, total, now);
  const bool records = begins || now - last_record_ >= kHeartbeat;
  const bool prints =
      is_shown() && now - last_print_ >= (style_ == Style::terminal ? 100ms : kHeartbeat);
  if (!records && !prints) return;
  const LogRecord record = progress_record(stage, done, total, left);
  if (records) {
    last_record_ = now;
    write_file_record(record);
    if (is_shown()) show_record(record, "");
  }
  if (!prints) return;
  last_print_ = now;
  if (style_ == Style::terminal) narrate_passing(record.message);
  if (style_ == Style::lines) narrate("{}\n", record.message);
}

void warn(Progress& progress, std::vector<std::string>& warnings, std::string text) {
  progress.warning(text);
  warnings.push_back(std::move(text));
}

std::string format_duration(double seconds) {
  const auto whole = std::lround(seconds);
  const long hours = whole / 3600;
  const long minutes = whole / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

}  // namespace indexcache
