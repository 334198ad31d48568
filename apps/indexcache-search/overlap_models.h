// SPDX-License-Identifier: Apache-2.0
// overlap --against-model: the index sets of two checkpoints, or of one in two precisions.
#pragma once

#include "calibration_options.h"
#include "commands.h"
#include "run/session.h"

#include <string>

namespace indexcache {

struct OtherModel {
  std::string model;              // empty: the same
  std::string precision;          // empty: as of the first
  std::string indexer_precision;  // likewise

  bool is_given() const { return !(model + precision + indexer_precision).empty(); }
};

// Compares, prints, and writes model-overlap.json to `output`. Returns the exit code.
int overlap_models(const DeviceOptions& first, const OtherModel& other,
                   const CalibrationOptions& calibration, const std::string& output,
                   const std::string& progress, CommonOptions& common);

}  // namespace indexcache
