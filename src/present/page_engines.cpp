// SPDX-License-Identifier: Apache-2.0
#include "present/page_engines.h"

#include "core/error.h"
#include "present/escape.h"
#include "present/html.h"
#include "result/served_model.h"

#include <fmt/format.h>

namespace indexcache {

std::string engines_html(const ModelSummary& summary, const Pattern& pattern,
                         bool needs_trained_indexers) {
  ServedModel model = served_model(summary);
  model.needs_trained_indexers = needs_trained_indexers;
  std::string first;
  std::string others;
  for (const EngineProfile* profile : newest_profiles()) {
    std::string& place = profile->shown_first ? first : others;
    try {
      const std::string text = export_pattern(*profile, pattern, model, {}).text;
      place += html_copy(title_of(*profile), text.substr(0, text.size() - 1));
    } catch (const InputError& error) {
      place += fmt::format("<p class=\"muted\">{}: {}</p>\n", escape_markup(profile->name),
                           escape_markup(error.problem().why));
    }
  }
  return first + fmt::format("<details><summary>other engines</summary>{}</details>\n", others);
}

}  // namespace indexcache
