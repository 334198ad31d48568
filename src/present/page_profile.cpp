// SPDX-License-Identifier: Apache-2.0
#include "present/page_profile.h"

#include "core/count_text.h"
#include "present/charts_profile.h"
#include "present/html.h"
#include "present/profile_text.h"

#include <fmt/format.h>

#include <vector>

namespace indexcache {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::vector<std::string> context_head(const Profile& profile, const std::string& first) {
  std::vector<std::string> head = {first};
  for (const ProfilePoint& point : profile.prefill) head.push_back(count_text(point.context));
  return head;
}

std::string shares_html(const Profile& profile) {
  Rows rows = {context_head(profile, "ms of a prefill of … tokens")};
  for (const TimedPart& part : profile.prefill.front().times.front().parts) {
    rows.push_back({part.name});
    for (const ProfilePoint& point : profile.prefill) {
      rows.back().push_back(milliseconds_text(point.times.front().seconds_of(part.name)));
    }
  }
  rows.push_back({"sum of the parts"});
  for (const ProfilePoint& point : profile.prefill) {
    rows.back().push_back(milliseconds_text(point.times.front().parts_seconds()));
  }
  return html_section(
      "Where does the time of a prefill go?", measured_text(profile) + ".",
      part_shares(profile).inline_text() + html_details("as a table", html_table(rows)));
}

std::string speed_ups_html(const Profile& profile) {
  Rows rows = {context_head(profile, "times as fast, at … tokens")};
  for (std::size_t p = 1; p < profile.patterns.size(); ++p) {
    rows.push_back({profile.patterns[p].name});
    for (const ProfilePoint& point : profile.prefill) {
      rows.back().push_back(fmt::format("{:.2f}x", point.speed_up(p)));
    }
  }
  rows.push_back({"limit of any pattern"});
  rows.push_back({"time that no pattern can save"});
  for (const ProfilePoint& point : profile.prefill) {
    rows[rows.size() - 2].push_back(fmt::format("{:.2f}x", point.limit()));
    rows.back().push_back(fmt::format("{:.0f}%", 100 / point.limit()));
  }
  return html_section(
      "How much faster is a prefill?",
      "Measured. The limit (Amdahl's law) is that without a single indexer.",
      speed_up_lines(profile).inline_text() + html_details("as a table", html_table(rows)));
}

std::string decode_html(const Profile& profile) {
  if (profile.decode.empty()) return "";
  Rows rows = {{"tokens", "sequences", "ms with every indexer"}};
  for (std::size_t p = 1; p < profile.patterns.size(); ++p) {
    rows[0].push_back(profile.patterns[p].name);
  }
  rows[0].push_back("limit of any pattern");
  for (const ProfilePoint& point : profile.decode) {
    rows.push_back({count_text(point.context), count_text(point.batch),
                    milliseconds_text(point.times.front().seconds)});
    for (std::size_t p = 1; p < profile.patterns.size(); ++p) {
      rows.back().push_back(fmt::format("{:.2f}x", point.speed_up(p)));
    }
    rows.back().push_back(fmt::format("{:.2f}x", point.limit()));
  }
  return html_section("How much faster is a step of decoding?",
                      "Measured: a token for each of the sequences, whose keys are in pages.",
                      html_table(rows));
}

std::string traffic_html(const Profile& profile) {
  const Traffic& traffic = *profile.traffic;
  Rows rows = {{"ms", "mean", "median", "P90", "P99", "prompt tokens per second"}};
  for (std::size_t p = 0; p < traffic.times.size(); ++p) {
    const FirstTokenTimes& times = traffic.times[p];
    rows.push_back({profile.patterns[p].name, milliseconds_text(times.mean),
                    milliseconds_text(times.median), milliseconds_text(times.p90),
                    milliseconds_text(times.p99),
                    fmt::format("{:.0f}", traffic.tokens_per_second(p))});
  }
  return html_section("What is it worth for your requests?", traffic_note(traffic) + ".",
                      html_table(rows));
}

}  // namespace

std::string profile_html(const Profile& profile) {
  if (profile.prefill.empty()) return "";
  std::string text = shares_html(profile) + speed_ups_html(profile) + decode_html(profile);
  if (profile.traffic) text += traffic_html(profile);
  return text;
}

}  // namespace indexcache
