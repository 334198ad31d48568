// SPDX-License-Identifier: Apache-2.0
// Where the stages of pipeline parallelism begin. Most engines do not pass index sets from stage to
// stage: a stage that begins with an S layer has nothing to reuse, so its first layer must stay F.
#pragma once

#include "core/pattern.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace indexcache {

// Which stages get one layer more if an engine cuts layers that do not divide evenly: going
// backwards from
enum class StageCut {
  spare_before_last,  // the last stage but one (get_pp_indices of vLLM 0.33)
  spare_last,         // the last stage (get_pp_indices of SGLang 0.5)
};

// Layers of each of `stages` stages. Throws UsageError unless 1 <= stages <= layers.
std::vector<std::size_t> even_stages(StageCut cut, std::size_t stages, std::size_t layers);

// First layers of all stages but the first, from the number of layers of each stage. Throws
// UsageError unless every stage has a layer and the sizes add up to `layers`.
std::vector<std::size_t> stage_starts(const std::vector<std::size_t>& sizes, std::size_t layers);

// The same for stages that engines cut by themselves: the union over both cuts, ascending.
std::vector<std::size_t> even_stage_starts(std::size_t stages, std::size_t layers);

// Sizes of `stages` stages that all begin on F layers of `pattern`, with the largest stage as small
// as possible and ties broken towards the earliest cut; nullopt if the pattern has too few F
// layers.
std::optional<std::vector<std::size_t>> stages_on_full_layers(const Pattern& pattern,
                                                              std::size_t stages);

}  // namespace indexcache
