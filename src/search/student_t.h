// SPDX-License-Identifier: Apache-2.0
// Student's t distribution, for intervals of means of few differences.
#pragma once

#include <cstddef>

namespace indexcache {

// The value that a t-distributed variable stays below with probability `p`, 0.5 <= p <= 1, to about
// 1e-12 relative; infinity for p = 1. `degrees_of_freedom` is at least 1. The distribution is the
// finite sum for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
double student_t_quantile(double p, std::size_t degrees_of_freedom);

}  // namespace indexcache
