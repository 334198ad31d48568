// SPDX-License-Identifier: Apache-2.0
// Narration of a long job: on stderr a rewritten line on a terminal and plain lines elsewhere, and
// records in a log (core/log.h), whatever the style but off.
#pragma once

#include "core/log.h"

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// How long counted work will take, by its pace since counting began: a stage may consist of several
// sweeps, each of which counts from 0.
class Pace {
 public:
  using Clock = std::chrono::steady_clock;

  // Seconds left after `done` of `total` units at `now`; nullopt where counting begins (at the
  // first call, or if `done` fell), before a twentieth is done, or if `total` is 0.
  std::optional<double> seconds_left(std::size_t done, std::size_t total, Clock::time_point now);

 private:
  std::optional<Clock::time_point> start_;
  std::size_t done_ = 0;
};

class Progress {
 public:
  // off is for work that only counts, and silent for users who ask for silence on stderr.
  enum class Style { off, silent, lines, terminal };

  explicit Progress(Style style) : style_(style) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  // terminal if stderr is one (and TERM is not "dumb"), else lines.
  static Style detect();

  // A line that stays.
  void note(const std::string& text);

  // The same, for what the user should look at.
  void warning(const std::string& text);

  // `done` of `total` units of `stage` are finished; a total of 0 is not known. On a terminal the
  // line is rewritten and shows the time left once a twentieth is done; elsewhere a line is printed
  // at most every 30 s, so that nothing looks hung. A log gets a record when a stage begins, and at
  // most every 30 s.
  void update(const std::string& stage, std::size_t done, std::size_t total);

  // Takes a rewritten line away, so that a result may be printed.
  void clear();

 private:
  using Clock = Pace::Clock;

  void tell(const LogRecord& record);
  bool is_shown() const { return style_ == Style::lines || style_ == Style::terminal; }

  Style style_;
  std::string stage_;
  Pace pace_;
  Clock::time_point last_print_ = Clock::now();
  Clock::time_point last_record_ = Clock::now();
};

// Tells a warning at once and keeps it in `warnings`, for the record.
void warn(Progress& progress, std::vector<std::string>& warnings, std::string text);

// "0:07", "12:30", "3:04:05".
std::string format_duration(double seconds);

}  // namespace indexcache
