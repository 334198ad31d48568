// SPDX-License-Identifier: Apache-2.0
// What the current device of the calling thread can run of the code in this build. The device of a
// launch's stream must be current: it is asked here, and cudaFuncSetAttribute acts on it.
#pragma once

namespace indexcache::kernels {

// Kernels of *_sm90.cu: the device is Hopper, and the build has code for sm_90a.
bool has_warpgroups();

// This build has code that the current device can run.
bool runs_here();

// Of the current device.
int multiprocessors();
int most_shared_bytes();  // that one block may request

}  // namespace indexcache::kernels
