// SPDX-License-Identifier: Apache-2.0
#include "search_subject.h"

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
  warnings.push_back(
      fmt::format("{} of {} held-out sequences are calibration sequences too: the "
                  "verification is not independent of the search",
                  shared, data.holdout->sequences.size()));
  progress.note("warning: " + warnings.back());
}

CalibrationData load_data(const SearchOptions& options, const Model& model, Progress& progress,
                          std::vector<std::string>& warnings) {
  CalibrationLoader loader(options.calibration, model, options.engine.model, options.engine.threads,
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
    throw UsageError({fmt::format("--holdout {} is not a share", holdout), "--holdout", "",
                      "a file, a share such as 0.25, or 0 for none"});
  }
  return loader.split(share);
}

}  // namespace

void add_search_options(CLI::App& command, SearchOptions& options) {
  add_engine_options(command, options.engine);
  add_calibration_options(command, options.calibration);
  add_constraint_options(command, options.constraints);
  command
      .add_option(
          "--holdout", options.holdout,
          "What to verify on: a file, a share of the calibration sequences, 0 for none, or auto: "
          "the split of a prepared file, else 0.25")
      ->type_name("FILE|SHARE|auto")
      ->capture_default_str();
}

SearchSubject open_subject(const SearchOptions& options, const Model& model, const Backend& backend,
                           Progress& progress) {
  backend.check(model.config.shape());
  Pattern baseline = search_baseline(options.constraints, model);
  Constraints constraints = make_constraints(options.constraints, baseline);
  std::vector<Request> targets = make_requests(options.constraints, baseline, constraints);
  std::vector<std::string> warnings;
  CalibrationData data = load_data(options, model, progress, warnings);
  return {std::move(baseline), std::move(constraints), std::move(targets), std::move(data),
          std::move(warnings)};
}

}  // namespace indexcache
