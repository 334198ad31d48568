// SPDX-License-Identifier: Apache-2.0
// Whether an MPI launcher started this process.
#pragma once

namespace indexcache {

// Ranks of the job as the launcher's environment says; 0 without a launcher.
int launched_ranks();

// The rank of this process among them; 0 without a launcher.
int launched_rank();

}  // namespace indexcache
