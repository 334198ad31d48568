// SPDX-License-Identifier: Apache-2.0
// The charts of a distillation, 480 units wide.
#pragma once

#include "present/svg.h"
#include "result/distillation.h"

#include <cstddef>
#include <string>
#include <vector>

namespace indexcache {

// Rows of the comparison: the pattern before training and after each stage, then the others.
std::vector<const JudgedPattern*> judged_rows(const Distillation& distillation);

// "pattern, before training", "pattern, after dense (chosen)".
std::string judged_text(const Distillation& distillation, const JudgedPattern& judged);

// What does training gain? Loss increases with their 95% intervals.
Svg judged_bars(const Distillation& distillation);

// What does a stage learn? The mean divergence of all trained layers in training and validation,
// and a thin line for each layer.
Svg training_curve(const Distillation& distillation, const TrainingStage& stage);

// Do the selected positions have more of the attention? Of at least one layer, see has_mass.
Svg attention_mass(const Distillation& distillation);
bool has_mass(const TrainedLayer& layer);

// Mean over layers; of at least one.
double mean_divergence(const TrainingPoint& point);

}  // namespace indexcache
