// SPDX-License-Identifier: Apache-2.0
// How many files this process may open.
#pragma once

namespace indexcache {

// Raises the soft limit to the hard one: a checkpoint can have hundreds of shards, and many systems
// allow 256 files by default. Does nothing if the system refuses.
void raise_open_file_limit() noexcept;

}  // namespace indexcache
