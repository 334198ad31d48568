// SPDX-License-Identifier: Apache-2.0
#include "calibration/prepare.h"
#include "core/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace indexcache {
namespace {

std::string line_of(const SourceAccount& a, std::size_t width) {
  return fmt::format("{:<{}} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7} {:>9} {:>9} {:>12} {:>12}\n",
                     a.input, width, a.read, a.used, a.truncated, a.empty, a.invalid, a.too_short,
                     a.duplicate, a.unused, a.tokens_read, a.tokens_used);
}

// " (3 .md, 1 .json)"; empty for none, and the most frequent ones for many.
std::string endings_of(const std::map<std::string, std::size_t>& counts) {
  constexpr std::size_t kMostEndings = 6;
  std::vector<std::pair<std::string, std::size_t>> endings(counts.begin(), counts.end());
  std::ranges::stable_sort(endings, std::greater(), &std::pair<std::string, std::size_t>::second);
  std::string text;
  for (std::size_t i = 0; i < std::min(endings.size(), kMostEndings); ++i) {
    const auto& [ending, count] = endings[i];
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count,
                        ending.empty() ? "without an extension" : excerpt(ending));
  }
  if (text.empty()) return "";
  return " (" + text + (endings.size() > kMostEndings ? ", …)" : ")");
}

std::string quoted(const std::string& text) {
  return text.empty() ? "none" : Json(text).dump();
}

}  // namespace

bool PrepareReport::falls_short() const {
  return built[0] < wanted[0] || built[1] < wanted[1];
}

std::string shortfall_text(const PrepareReport& report) {
  const bool any = report.wanted[0] > 0;
  std::string text =
      any ? fmt::format("{} of {} sequences for the search, {} of {} held out", report.built[0],
                        report.wanted[0], report.built[1], report.wanted[1])
          : fmt::format("{} sequences for the search, {} held out", report.built[0],
                        report.built[1]);
  if (!report.exhausted.empty()) {
    text += fmt::format(" ({} ran out, and without it the input weights cannot be kept)",
                        report.exhausted);
  }
  return text;
}

std::string to_text(const PrepareReport& report) {
  std::size_t width = 9;
  for (const SourceAccount& source : report.sources) width = std::max(width, source.input.size());
  std::string text =
      fmt::format("{:<{}} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7} {:>9} {:>9} {:>12} {:>12}\n",
                  "documents", width, "read", "used", "truncated", "empty", "invalid", "short",
                  "duplicate", "unneeded", "tokens read", "tokens used");
  for (const SourceAccount& source : report.sources) text += line_of(source, width);
  if (report.sources.size() > 1) text += line_of(report.total(), width);
  std::string forms;
  for (const auto& [form, count] : report.forms) {
    forms += fmt::format("{}{} {}", forms.empty() ? "" : ", ", count, form);
  }
  text += fmt::format("made from    {}; start token {}, end token {}{}\n",
                      forms.empty() ? "nothing" : forms, quoted(report.start), quoted(report.end),
                      report.chat_format.empty() ? "" : "; chats as " + report.chat_format);
  if (report.had_start > 0) {
    text +=
        fmt::format("             {} already began with the start token: no second one was added\n",
                    report.had_start);
  }
  if (const std::int64_t replaced = report.total().replaced; replaced > 0) {
    text += fmt::format(
        "             {} had half of a surrogate pair, such as \\ud83d, which is read as U+FFFD\n",
        replaced);
  }
  if (report.passed_over > 0) {
    text += fmt::format("skipped      files of other types: {}{}\n", report.passed_over,
                        endings_of(report.other_kinds));
  }
  if (report.hidden > 0) {
    text += fmt::format("skipped      hidden files and folders: {}\n", report.hidden);
  }
  if (!report.first_invalid.empty()) text += "the first invalid one: " + report.first_invalid;
  text += fmt::format("sequences    {}{}", shortfall_text(report),
                      report.falls_short() ? " (shortfall allowed)" : "");
  return text;
}

}  // namespace indexcache
