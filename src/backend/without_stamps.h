// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/device.h"

namespace indexcache {

// The components of work that takes `whole` seconds without stamps. What the stamps of the profile
// added is taken off in equal amounts, one per piece of time, because a stamp takes the same time
// wherever it is. It cannot be longer than the shortest pieces: if the difference is, because
// something else disturbed one of the runs, what is left of it is taken off in proportion. The
// result adds up to `whole`; where the profile takes no longer, or `whole` is not positive, it is
// that of the profile.
ComponentSeconds without_stamps(const ComponentProfile& profile, double whole);

// Of all components.
double sum_of(const ComponentSeconds& seconds);

}  // namespace indexcache
