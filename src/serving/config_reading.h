// SPDX-License-Identifier: Apache-2.0
// What a serving engine makes of a config.json: which layers run their indexer, by its own rules of
// precedence, and what it passes over in silence.
#pragma once

#include "io/json.h"
#include "serving/profile.h"

#include <string>
#include <vector>

namespace indexcache {

// GLM-5 in "architectures" of config.json.
inline constexpr const char* kGlmArchitecture = "GlmMoeDsaForCausalLM";

struct ConfigReading {
  std::string schedule;    // [L] F and S, as the engine runs them; empty where it stops before that
  std::string decided_by;  // the key, or "no key"
  std::string failure;     // why it does not run, or not rightly; empty where it does
  std::vector<std::string> remarks;  // what is silently ignored or filled in
};

// `config` is the content of config.json; `overrides` are keys that the engine puts over it after
// it was read. Throws InputError, naming `where`, for a config without num_hidden_layers or with
// keys of another type than any engine takes.
ConfigReading read_schedule(const EngineProfile& profile, const Json& config, const Json& overrides,
                            const std::string& where);

// Decoder layers of a config.json. Throws InputError naming `where`.
std::size_t config_layers(const Json& config, const std::string& where);

// Whether transformers gives this model GLM's configuration class, which derives indexer_types.
bool is_glm_config(const Json& config);

}  // namespace indexcache
