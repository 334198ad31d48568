// SPDX-License-Identifier: Apache-2.0
#include "present/page_engines.h"

#include "core/error.h"
#include "present/escape.h"
#include "present/html.h"
#include "result/served_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace indexcache {
namespace {

struct Entry {
  bool first;  // one of the engines most used
  bool takes;  // the pattern
  std::string html;
};

Entry entry_of(const EngineProfile& profile, const Pattern& pattern, const ServedModel& model) {
  try {
    const std::string text = export_pattern(profile, pattern, model, {}).text;
    return {profile.shown_first, true,
            html_copy(title_of(profile), text.substr(0, text.size() - 1))};
  } catch (const InputError& error) {
    return {profile.shown_first, false,
            fmt::format("<p class=\"muted\">{}: {}</p>\n", escape_markup(profile.name),
                        escape_markup(error.problem().why))};
  }
}

}  // namespace

std::string pattern_html(const ModelSummary& summary, const Pattern& pattern) {
  return html_copy(summary.numbers.are_all() ? "pattern, one letter per decoder layer"
                                             : "pattern, one letter per layer of ratio 4",
                   pattern.text());
}

std::string engines_html(const ModelSummary& summary, const Pattern& pattern,
                         bool needs_trained_indexers) {
  ServedModel model = served_model(summary);
  model.needs_trained_indexers = needs_trained_indexers;
  std::vector<Entry> entries;
  for (const EngineProfile* profile : newest_profiles()) {
    entries.push_back(entry_of(*profile, pattern, model));
  }
  const bool usual =
      std::ranges::any_of(entries, [](const Entry& e) { return e.first && e.takes; });
  std::string first;
  std::string others;
  for (const Entry& entry : entries) {
    (entry.first || (!usual && entry.takes) ? first : others) += entry.html;
  }
  return first + fmt::format("<details><summary>other engines</summary>{}</details>\n", others);
}

}  // namespace indexcache
