// SPDX-License-Identifier: Apache-2.0
// What pages and charts show: a result and what else its run folder contains.
#pragma once

#include "result/result.h"
#include "search/overlap.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// One measurement of `bench prefill --json`, kept as bench.json in the run folder.
struct BenchRow {
  std::int64_t context;
  std::string pattern;
  double milliseconds;
  std::optional<double> speed_up;
  std::vector<std::pair<std::string, double>> components;  // milliseconds
};

struct Report {
  Result result;
  Overlap overlap;  // of as many layers as the model
  std::vector<BenchRow> bench;
  std::string folder;  // name of the run folder, to tell runs apart
};

// Throws InputError naming the file for a run that has not finished, a file that is damaged and an
// overlap.h5 of another model.
Report read_report(const std::filesystem::path& folder);

}  // namespace indexcache
