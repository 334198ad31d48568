// SPDX-License-Identifier: Apache-2.0
#include "present/report.h"

#include "core/error.h"
#include "profile/profile_json.h"
#include "result/overlap_file.h"
#include "result/profile_match.h"
#include "result/result_json.h"

namespace indexcache {
Report read_report(const std::filesystem::path& folder) {
  Report report{.result = read_result(folder),
                .overlap = read_overlap(folder / "overlap.h5").overlap,
                .profile = std::nullopt,
                .folder = folder.filename().string()};
  if (report.overlap.layers != report.result.model.layers) {
    throw InputError({"the run cannot be shown", (folder / "overlap.h5").string(),
                      "it belongs to a different model, with a different number of layers",
                      "the overlap.h5 that the run wrote"});
  }
  const std::filesystem::path profile = folder / kProfileFile;
  if (std::filesystem::exists(profile)) {
    report.profile = read_profile(profile);
    check_profile(*report.profile, report.result.model);
  }
  return report;
}

}  // namespace indexcache
