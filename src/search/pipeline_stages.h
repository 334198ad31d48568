// SPDX-License-Identifier: Apache-2.0
// Where the stages of pipeline parallelism begin. Index sets do not pass from stage to stage in
// most engines: a stage that begins with an S layer has nothing to reuse, so its first layer must
// stay F.
#pragma once

#include <cstddef>
#include <vector>

namespace indexcache {

// First layers of the stages behind the first, from the number of layers of each stage. Throws
// UsageError unless every stage has a layer and they are `layers` together.
std::vector<std::size_t> stage_starts(const std::vector<std::size_t>& sizes, std::size_t layers);

// The same for `stages` stages as engines cut by themselves, ascending. Where the layers do not
// divide evenly they differ, and the starts of both are given:
//   vLLM 0.33    one spare layer each, from the last stage but one backwards
//   SGLang 0.5   one spare layer each for the last stages
// Throws UsageError unless 1 <= stages <= layers.
std::vector<std::size_t> even_stage_starts(std::size_t stages, std::size_t layers);

}  // namespace indexcache
