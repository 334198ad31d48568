// SPDX-License-Identifier: Apache-2.0
// How long this process has run.
#pragma once

namespace indexcache {

// Seconds of wall-clock time since the operating system started this process; 0 if it does not say.
double seconds_since_process_start();

}  // namespace indexcache
