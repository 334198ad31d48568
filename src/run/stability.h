// SPDX-License-Identifier: Apache-2.0
// Whether the choice depends on which calibration sequences there are: the search by segments on
// each half of them.
#pragma once

#include "result/result.h"
#include "search/evaluator.h"
#include "search/strategy.h"

#include <vector>

namespace indexcache {

// What a search by segments chooses on the even and on the odd sequences, for every target of
// `space`; [targets][2]. Losses of segments that `evaluator` already knows are not measured again.
std::vector<std::vector<HalfChoice>> search_halves(Evaluator& evaluator, const SearchSpace& space);

}  // namespace indexcache
