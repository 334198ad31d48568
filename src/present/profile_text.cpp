// SPDX-License-Identifier: Apache-2.0
#include "present/profile_text.h"

#include "core/count_text.h"
#include "core/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace indexcache {
namespace {

constexpr std::size_t kLongestName = 40;

std::string row_name(const ProfiledPattern& pattern) {
  return bounded(pattern.name, kLongestName);
}

// Columns: a name, and for each point a number and what it is next to another one.
class PointTable {
 public:
  PointTable(const std::vector<ProfilePoint>& points, const std::vector<ProfiledPattern>& patterns)
      : points_(points) {
    for (const ProfiledPattern& one : patterns) {
      width_ = std::max(width_, row_name(one).size());
    }
  }

  using Cell = std::function<std::string(const ProfilePoint&)>;

  void row(const std::string& name, const Cell& value, const Cell& next_to_it) {
    text_ += fmt::format("  {:<{}}", name, width_);
    for (const ProfilePoint& point : points_) {
      text_ += fmt::format("{:>9} {:<6}", value(point), next_to_it(point));
    }
    while (text_.back() == ' ') text_.pop_back();
    text_ += "\n";
  }

  const std::string& text() const { return text_; }

 private:
  const std::vector<ProfilePoint>& points_;
  std::size_t width_ = 22;
  std::string text_;
};

std::string nothing(const ProfilePoint&) {
  return "";
}

std::string percent_text(double share) {
  return fmt::format("{:.0f}%", 100 * share);
}

std::string times_text(double speed_up) {
  return fmt::format("{:.2f}x", speed_up);
}

void add_parts(PointTable& table, const std::vector<ProfilePoint>& points) {
  for (const TimedPart& part : points.front().times.front().parts) {
    const auto seconds = [&](const ProfilePoint& point) {
      return point.times.front().seconds_of(part.name);
    };
    table.row(
        part.name, [&](const ProfilePoint& point) { return milliseconds_text(seconds(point)); },
        [&](const ProfilePoint& point) {
          return percent_text(seconds(point) / point.times.front().parts_seconds());
        });
  }
  table.row(
      "sum of the parts",
      [](const ProfilePoint& point) {
        return milliseconds_text(point.times.front().parts_seconds());
      },
      nothing);
  table.row(
      "pass without stamps",
      [](const ProfilePoint& point) { return milliseconds_text(point.times.front().seconds); },
      nothing);
  if (!points.front().set_copy_seconds) return;
  table.row(
      "a copy of index sets",
      [](const ProfilePoint& point) {
        return milliseconds_text(point.set_copy_seconds.value_or(0));
      },
      nothing);
}

void add_limits(PointTable& table) {
  const auto share = [](const ProfilePoint& point) { return point.times.front().indexer_share(); };
  table.row(
      "indexers", [&](const ProfilePoint& point) { return percent_text(share(point)); }, nothing);
  table.row(
      "no pattern can save",
      [&](const ProfilePoint& point) { return percent_text(1 - share(point)); }, nothing);
  table.row(
      "limit of the speed-up", [](const ProfilePoint& point) { return times_text(point.limit()); },
      nothing);
}

void add_patterns(PointTable& table, const std::vector<ProfiledPattern>& patterns) {
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    table.row(
        row_name(patterns[p]),
        [&](const ProfilePoint& point) { return milliseconds_text(point.times[p].seconds); },
        [&](const ProfilePoint& point) { return times_text(point.speed_up(p)); });
  }
}

// Parts with every indexer, limits, and patterns, of points of one kind.
std::string pass_tables(const std::vector<ProfilePoint>& points,
                        const std::vector<ProfiledPattern>& names) {
  PointTable parts(points, names), limits(points, names), patterns(points, names);
  parts.row(
      "tokens", [](const ProfilePoint& point) { return count_text(point.context); }, nothing);
  parts.row(
      "sequences", [](const ProfilePoint& point) { return count_text(point.batch); }, nothing);
  parts.row(
      "every indexer, parts", [](const ProfilePoint&) { return "ms"; },
      [](const ProfilePoint&) { return "share"; });
  add_parts(parts, points);
  add_limits(limits);
  patterns.row(
      "patterns", [](const ProfilePoint&) { return "ms"; }, nothing);
  add_patterns(patterns, names);
  return parts.text() + "\n" + limits.text() + "\n" + patterns.text();
}

std::string traffic_table(const Profile& profile) {
  const Traffic& traffic = *profile.traffic;
  std::string text = fmt::format("\n{}\n", traffic_note(traffic));
  text += fmt::format("  {:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}\n", "ms", "mean", "median",
                      "P90", "P99", "speed-up", "tokens/s");
  for (std::size_t p = 0; p < traffic.times.size(); ++p) {
    const FirstTokenTimes& times = traffic.times[p];
    text += fmt::format(
        "  {:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12.0f}\n", row_name(profile.patterns[p]),
        milliseconds_text(times.mean), milliseconds_text(times.median),
        milliseconds_text(times.p90), milliseconds_text(times.p99),
        times_text(traffic.times.front().mean / times.mean), traffic.tokens_per_second(p));
  }
  return text;
}

}  // namespace

std::string milliseconds_text(double seconds) {
  const double value = seconds * 1e3;
  const int decimals = value >= 1000 ? 0 : value >= 100 ? 1 : value >= 10 ? 2 : 3;
  return fmt::format("{:.{}f}", value, decimals);
}

std::string measured_text(const Profile& profile) {
  const std::string hisa =
      profile.model.indexer == "exact" ? "" : fmt::format(", indexer {}", profile.model.indexer);
  return fmt::format("{}, {}{}: prefills of one sequence, median of {}{}", profile.model.name,
                     profile.device, hisa, profile.repeat,
                     profile.gpu ? "" : "; a CPU says little about the shares on a GPU");
}

std::string traffic_note(const Traffic& traffic) {
  return fmt::format(
      "{} requests of {}, {} prompt tokens: time to the first token, composed of measured passes "
      "of one sequence (no queue, no batch, no engine)",
      count_text(traffic.requests), traffic.source, count_text(traffic.prompt_tokens));
}

std::string profile_text(const Profile& profile) {
  std::string text = measured_text(profile) + "\n";
  if (profile.prefill.empty()) return text;
  text += pass_tables(profile.prefill, profile.patterns);
  for (const ProfiledPattern& one : profile.patterns) {
    text += fmt::format("  {}  {} F  {}\n", one.pattern.text(), one.pattern.full_count(), one.name);
  }
  if (!profile.decode.empty()) {
    text += "\nsteps of decoding, a token for each of the sequences\n" +
            pass_tables(profile.decode, profile.patterns);
  }
  if (profile.traffic) text += traffic_table(profile);
  return text;
}

}  // namespace indexcache
