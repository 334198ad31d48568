// SPDX-License-Identifier: Apache-2.0
// How many threads a piece of work gets. Nothing here, and nothing that uses it, changes the
// process's OpenMP defaults: whoever runs a parallel loop passes the number to it.
//
// Four kinds of threads exist, one per kind of work: OpenMP for loops over independent items (CPU
// operations, tokenizing), one std::thread owned by an object that works beside its caller
// (ModelWeights), and std::jthread, which ends with its scope, for file reads (read_blob) and for
// each of several devices that work on one request (spread) or do the same thing (concurrently).
#pragma once

namespace indexcache {

// `requested` if it is positive; else what OpenMP would use (OMP_NUM_THREADS, or all cores), but no
// more than the container's CPU quota (cgroup v2): threads beyond a quota only spin.
int thread_count(int requested);

}  // namespace indexcache
