// SPDX-License-Identifier: Apache-2.0
// The RoPE keys of config.json.
#pragma once

#include "model/config.h"
#include "model/config_reader.h"

namespace indexcache {

// Reads rope_parameters (transformers 5), rope_scaling (older, and what guides add) or neither into
// `config`. Readers differ in which key wins if both are there, and which rope_theta: throws
// InputError, naming both keys, unless they say the same.
void read_rope(const ConfigReader& r, ModelConfig& config);

}  // namespace indexcache
