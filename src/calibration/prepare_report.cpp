// SPDX-License-Identifier: Apache-2.0
#include "calibration/prepare.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

std::string line_of(const SourceAccount& a, std::size_t width) {
  return fmt::format("{:<{}} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7} {:>9} {:>9} {:>12} {:>12}\n",
                     a.input, width, a.read, a.used, a.truncated, a.empty, a.invalid, a.too_short,
                     a.duplicate, a.unused, a.tokens_read, a.tokens_used);
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
    text += fmt::format(" (then {} ran out, and the weights would not hold without it)",
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
  text += fmt::format("made from    {}; before a text {}, behind it {}{}\n",
                      forms.empty() ? "nothing" : forms, quoted(report.start), quoted(report.end),
                      report.chat_format.empty() ? "" : "; chats as " + report.chat_format);
  if (report.had_start > 0) {
    text += fmt::format("             {} began with that start already: no second one was added\n",
                        report.had_start);
  }
  if (report.passed_over > 0) {
    text += fmt::format("passed over  files of other kinds: {}\n", report.passed_over);
  }
  if (!report.first_invalid.empty()) text += "the first invalid one: " + report.first_invalid;
  text += fmt::format("sequences    {}{}", shortfall_text(report),
                      report.falls_short() ? ": a shortfall, allowed" : "");
  return text;
}

}  // namespace indexcache
