// SPDX-License-Identifier: Apache-2.0
#include "run_data.h"

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

}  // namespace

void add_holdout_option(CLI::App& command, std::string& holdout) {
  command
      .add_option(
          "--holdout", holdout,
          "What to verify on: a file, a share of the calibration sequences, 0 for none, or auto: "
          "the split of a prepared file, else 0.25")
      ->type_name("FILE|SHARE|auto")
      ->capture_default_str();
}

CalibrationData load_run_data(const CalibrationOptions& calibration, const std::string& holdout,
                              const EngineOptions& engine, const Model& model, Progress& progress,
                              std::vector<std::string>& warnings) {
  CalibrationLoader loader(calibration, model, engine.model, engine.threads, progress, warnings);
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

}  // namespace indexcache
