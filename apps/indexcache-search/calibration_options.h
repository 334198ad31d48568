// SPDX-License-Identifier: Apache-2.0
// Command-line options that turn documents into sequences.
#pragma once

#include "run/calibration_data.h"

#include <CLI/CLI.hpp>

namespace indexcache {

// Everything but the inputs, whose option has another name in `prepare`.
void add_sequence_options(CLI::App& command, CalibrationOptions& options);

// -c,--calibration and the above.
void add_calibration_options(CLI::App& command, CalibrationOptions& options);

}  // namespace indexcache
