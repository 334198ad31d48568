// SPDX-License-Identifier: Apache-2.0
#include "run/subject.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>

namespace indexcache {
namespace {

// Held-out sequences that the search sees as well prove nothing.
void warn_of_shared_sequences(const CalibrationData& data, Progress& progress,
                              std::vector<std::string>& warnings) {
  const std::set<std::vector<std::int32_t>> seen(data.search.sequences.begin(),
                                                 data.search.sequences.end());
  const auto shared = std::ranges::count_if(
      data.holdout->sequences, [&](const auto& sequence) { return seen.contains(sequence); });
  if (shared == 0) return;
  warn(progress, warnings,
       fmt::format("{} of {} held-out sequences are also calibration sequences, so the "
                   "verification is not independent of the search",
                   shared, data.holdout->sequences.size()));
}

CalibrationData load_data(const SearchOptions& options, const Model& model, Progress& progress,
                          std::vector<std::string>& warnings) {
  CalibrationLoader loader(options.calibration, model, options.device.model, options.device.threads,
                           progress, warnings);
  const std::string& holdout = options.holdout;
  if (holdout == "auto") return loader.split(std::nullopt);
  char* end = nullptr;
  const double share = std::strtod(holdout.c_str(), &end);
  if (*end != '\0' || holdout.empty()) {
    CalibrationData data = loader.split(0.0);
    data.holdout = loader.whole({holdout});
    warn_of_shared_sequences(data, progress, warnings);
    return data;
  }
  if (!(share >= 0 && share < 1)) {
    throw UsageError({fmt::format("invalid value for --holdout: \"{}\"", holdout), "--holdout", "",
                      "a file, a share such as 0.25, or 0 for none"});
  }
  return loader.split(share);
}

// What --confidence asks for; nullopt for none.
std::optional<RaceRules> parse_confidence(const std::string& text) {
  RaceRules rules;
  if (text == "none") return std::nullopt;
  if (text == "auto") return rules;
  char* end = nullptr;
  rules.confidence = std::strtod(text.c_str(), &end);
  if (!text.empty() && *end == '\0' && rules.confidence > 0.5 && rules.confidence < 1) return rules;
  throw UsageError({fmt::format("invalid value for --confidence: \"{}\"", text), "--confidence", "",
                    "a probability between 0.5 and 1 such as 0.95, none, or auto"});
}

// Races need a spread. By default they are left out where there is none.
void require_race_sequences(std::optional<RaceRules>& races, bool by_default, std::size_t sequences,
                            Progress& progress) {
  if (!races || sequences >= kFewestRaced) return;
  const std::string few =
      fmt::format("{} calibration sequence{} too few for races, which need at least {}", sequences,
                  sequences == 1 ? " is" : "s are", kFewestRaced);
  if (!by_default) {
    throw UsageError({"races are not possible on this data", "--confidence", few,
                      "more sequences, or --confidence none"});
  }
  races.reset();
  progress.note(fmt::format("every pattern is measured on every sequence: {}", few));
}

}  // namespace

SearchSettings SearchSubject::settings() const {
  SearchSettings settings{.strategies = {},
                          .refinement = std::string(refinement ? refinement->name : "none"),
                          .race_confidence = std::nullopt,
                          .race_all = race_all};
  for (const Strategy* strategy : strategies) settings.strategies.emplace_back(strategy->name);
  if (space.races) settings.race_confidence = space.races->confidence;
  return settings;
}

SearchSubject open_subject(const SearchOptions& options, const Model& model, const Backend& backend,
                           Progress& progress) {
  backend.check(model.config.shape());
  const Pattern start = search_baseline(options.constraints, model);
  SearchSubject subject{.space = {start, make_constraints(options.constraints, start), {}},
                        .requests = {},
                        .strategies = {},
                        .refinement = find_refinement(options.refine),
                        .race_all = options.race_greedy,
                        .data = {},
                        .warnings = {}};
  subject.space.races = parse_confidence(options.confidence);
  subject.requests = make_requests(options.constraints, start, subject.space.constraints);
  for (const Request& request : subject.requests) subject.space.targets.push_back(request.full);
  for (const Strategy& strategy : strategies()) {
    if (std::ranges::count(options.strategies, strategy.name) > 0) {
      subject.strategies.push_back(&strategy);
    }
  }
  warn_of_model(model, progress, subject.warnings);
  subject.data = load_data(options, model, progress, subject.warnings);
  require_race_sequences(subject.space.races, options.confidence == "auto",
                         subject.data.search.sequences.size(), progress);
  return subject;
}

}  // namespace indexcache
