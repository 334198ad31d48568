// SPDX-License-Identifier: Apache-2.0
// The RoPE keys of config.json.
#pragma once

#include "model/config.h"
#include "model/config_reader.h"

#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// An object that describes RoPE.
struct RopeObject {
  std::optional<double> theta;
  std::optional<Yarn> yarn;
  std::vector<std::string> unread;  // keys with their object: "rope_scaling.x"
};

// Reads object `key` of config.json, or of an object in it. Throws InputError for a type other than
// default and yarn, and if the object contradicts itself.
RopeObject read_rope_object(const ConfigReader& r, const std::string& key);

// Reads rope_parameters (transformers 5), rope_scaling (older, and what guides add) or neither into
// `config`. Readers differ in which key wins if both are there, and which rope_theta: throws
// InputError, naming both keys, unless they say the same.
void read_rope(const ConfigReader& r, ModelConfig& config);

}  // namespace indexcache
