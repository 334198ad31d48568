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

}  // namespace

std::vector<std::string> SearchSubject::methods() const {
  std::vector<std::string> methods;
  for (const Strategy* strategy : strategies) methods.emplace_back(strategy->name);
  if (refinement == nullptr) return methods;
  methods.resize(methods.size() + requests.size(), std::string(refinement->name));
  return methods;
}

SearchSubject open_subject(const SearchOptions& options, const Model& model, const Backend& backend,
                           Progress& progress) {
  backend.check(model.config.shape());
  const Pattern start = search_baseline(options.constraints, model);
  SearchSubject subject{{start, make_constraints(options.constraints, start), {}},
                        {},
                        {},
                        find_refinement(options.refine),
                        {},
                        {}};
  subject.requests = make_requests(options.constraints, start, subject.space.constraints);
  for (const Request& request : subject.requests) subject.space.targets.push_back(request.full);
  for (const Strategy& strategy : strategies()) {
    if (std::ranges::count(options.strategies, strategy.name) > 0) {
      subject.strategies.push_back(&strategy);
    }
  }
  warn_of_model(model, progress, subject.warnings);
  subject.data = load_data(options, model, progress, subject.warnings);
  return subject;
}

}  // namespace indexcache
