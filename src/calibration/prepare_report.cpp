// SPDX-License-Identifier: Apache-2.0
#include "calibration/prepare.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

Json to_json(const SourceAccount& account) {
  // Results do not depend on where the files lie.
  const auto path = std::filesystem::path(account.input).lexically_normal();
  const auto name = path.has_filename() ? path.filename() : path.parent_path().filename();
  return Json{{"input", name.string()},
              {"files", account.files},
              {"documents",
               {{"read", account.read},
                {"used", account.used},
                {"truncated", account.truncated},
                {"dropped_empty", account.empty},
                {"dropped_invalid", account.invalid},
                {"dropped_too_short", account.too_short},
                {"dropped_duplicate", account.duplicate},
                {"not_needed", account.unused}}},
              {"tokens", {{"read", account.tokens_read}, {"used", account.tokens_used}}}};
}

std::string line_of(const SourceAccount& a, std::size_t width) {
  return fmt::format("{:<{}} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7} {:>9} {:>9} {:>12} {:>12}\n",
                     a.input, width, a.read, a.used, a.truncated, a.empty, a.invalid, a.too_short,
                     a.duplicate, a.unused, a.tokens_read, a.tokens_used);
}

std::string quoted(const std::string& text) {
  return text.empty() ? "none" : Json(text).dump();
}

}  // namespace

SourceAccount PrepareReport::total() const {
  SourceAccount sum;
  sum.input = "all";
  for (const SourceAccount& source : sources) {
    sum.files += source.files;
    sum.read += source.read;
    sum.used += source.used;
    sum.empty += source.empty;
    sum.invalid += source.invalid;
    sum.too_short += source.too_short;
    sum.duplicate += source.duplicate;
    sum.unused += source.unused;
    sum.truncated += source.truncated;
    sum.tokens_read += source.tokens_read;
    sum.tokens_used += source.tokens_used;
  }
  return sum;
}

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

Json to_json(const PrepareReport& report) {
  Json sources = Json::array();
  for (const SourceAccount& source : report.sources) sources.push_back(to_json(source));
  Json forms = Json::object();
  for (const auto& [form, count] : report.forms) forms[form] = count;
  const auto side = [&](int i) {
    return Json{{"wanted", report.wanted[i] > 0 ? Json(report.wanted[i]) : Json()},
                {"built", report.built[i]}};
  };
  return Json{{"sources", sources},
              {"total", to_json(report.total())},
              {"files_of_other_kinds", report.passed_over},
              {"made_from", forms},
              {"chat_format", report.chat_format.empty() ? Json() : Json(report.chat_format)},
              {"start", report.start},
              {"end", report.end},
              {"began_with_start", report.had_start},
              {"began_with_two_starts", report.double_start},
              {"search_sequences", side(0)},
              {"held_out_sequences", side(1)}};
}

}  // namespace indexcache
