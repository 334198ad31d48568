// SPDX-License-Identifier: Apache-2.0
// What pages and charts show: a result and what else its run folder contains.
#pragma once

#include "profile/profile.h"
#include "result/result.h"
#include "search/overlap.h"

#include <filesystem>
#include <optional>
#include <string>

namespace indexcache {

struct Report {
  Result result;
  Overlap overlap;                 // of as many layers as the model
  std::optional<Profile> profile;  // profile.json of the run folder
  std::string folder;              // name of the run folder, to tell runs apart
};

// Throws InputError naming the file for a run that has not finished, a file that is damaged, and an
// overlap.h5 or profile.json of another model.
Report read_report(const std::filesystem::path& folder);

}  // namespace indexcache
