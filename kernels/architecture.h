// SPDX-License-Identifier: Apache-2.0
// What the current device can run of what this build holds.
#pragma once

namespace indexcache::kernels {

// Kernels of *_sm90.cu: the device is Hopper, and the build has code for sm_90a.
bool has_warpgroups();

// This build has code that the current device can run.
bool runs_here();

// Of the current device.
int multiprocessors();
int most_shared_bytes();  // that one block may ask for

}  // namespace indexcache::kernels
