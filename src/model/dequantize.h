// SPDX-License-Identifier: Apache-2.0
// Checkpoint tensors as float32, FP8 weights multiplied by their block scales.
#pragma once

#include "io/checkpoint.h"
#include "model/config.h"

#include <string>
#include <vector>

namespace indexcache {

// Throws InputError unless `name` has a dtype that read_floats converts and, for F8_E4M3, a scale
// tensor of a usable shape and dtype. Reads headers only.
void check_readable(const ModelConfig& config, const Checkpoint& checkpoint,
                    const std::string& name);

// All elements, row-major. F8_E4M3: W[i, j] = e4m3(W[i, j]) * scale_inv[i / bi][j / bj]; the last
// blocks may be partial. Throws InputError naming the tensor when an element is not finite.
std::vector<float> read_floats(const ModelConfig& config, const Checkpoint& checkpoint,
                               const std::string& name);

// The same tensor as it is stored, for engines that convert on the device; a matrix, or a stack of
// them (its leading extents become rows). Bytes live as long as the checkpoint.
StoredMatrix read_stored(const ModelConfig& config, const Checkpoint& checkpoint,
                         const std::string& name);

}  // namespace indexcache
