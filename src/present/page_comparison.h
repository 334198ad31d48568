// SPDX-License-Identifier: Apache-2.0
// The sections of a page about one target: other patterns of its size, and its predictions.
#pragma once

#include "result/result.h"

#include <string>

namespace indexcache {

// How do other patterns of this size compare? Strategies, what overlap recommends, uniform and
// random patterns, ties, and the choices of each half of the data. `attributes` go to the section.
std::string comparison_html(const Target& target, const std::string& attributes);

// Do the predictions stay the same? Empty if that was not measured.
std::string fidelity_html(const Target& target, const std::string& attributes);

}  // namespace indexcache
