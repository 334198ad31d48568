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

Progress::Style Progress::detect() {
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::string_view(term) == "dumb";
  return isatty(STDERR_FILENO) != 0 && !dumb ? Style::terminal : Style::lines;
}

void Progress::clear() {
  if (!line_open_) return;
  narrate("\r\033[K");
  line_open_ = false;
}

void Progress::note(const std::string& text) {
  if (style_ == Style::silent) return;
  clear();
  narrate("{}\n", text);
  last_print_ = Clock::now();
}

void Progress::update(const std::string& stage, std::size_t done, std::size_t total) {
  if (style_ == Style::silent) return;
  const auto now = Clock::now();
  if (stage != stage_) {
    stage_ = stage;
    stage_start_ = now;
  }
  if (now - last_print_ < (style_ == Style::terminal ? 100ms : 30'000ms)) return;
  last_print_ = now;
  std::string text =
      total > 0 ? fmt::format("{}  {}/{}", stage, done, total) : fmt::format("{}  {}", stage, done);
  if (total > 0 && done > 0 && done * 20 >= total) {
    const double elapsed = std::chrono::duration<double>(now - stage_start_).count();
    const double left = elapsed / static_cast<double>(done) * static_cast<double>(total - done);
    text += fmt::format("  {} left", format_duration(left));
  }
  if (style_ == Style::terminal) {
    narrate("\r\033[K{}", text);
    line_open_ = true;
  } else {
    narrate("{}\n", text);
  }
}

void warn(Progress& progress, std::vector<std::string>& warnings, std::string text) {
  progress.note("warning: " + text);
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
