// SPDX-License-Identifier: Apache-2.0
// Time stamps of written files: the one thing in which two equal runs differ. SOURCE_DATE_EPOCH
// (reproducible-builds.org) fixes them.
#pragma once

#include <optional>
#include <string>

namespace indexcache {

// Now, or SOURCE_DATE_EPOCH where it is set, as ISO 8601 UTC.
std::string created_time();

// A measured duration for a record; absent where SOURCE_DATE_EPOCH asks for equal bytes.
std::optional<double> recorded_seconds(double seconds);

}  // namespace indexcache
