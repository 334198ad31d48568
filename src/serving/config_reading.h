// SPDX-License-Identifier: Apache-2.0
// How a serving engine reads a config.json: which layers run their indexer by its own rules of
// precedence, and what it silently ignores.
#pragma once

#include "io/json.h"
#include "serving/profile.h"

#include <string>
#include <vector>

namespace indexcache {

// GLM-5 in "architectures" of config.json.
inline constexpr const char* kGlmArchitecture = "GlmMoeDsaForCausalLM";

struct ConfigReading {
  std::string schedule;    // F and S of lettered_layers(), as the engine runs them; empty if it
                           // stops before that
  std::string decided_by;  // the key, or "no key"
  std::string failure;     // why it stops or computes garbage; empty if it runs correctly
  std::vector<std::string> remarks;  // what is silently ignored or filled in
};

// `config` is the content of config.json; `overrides` are keys that replace its own after it was
// read. Throws InputError, naming `where`, for a config without num_hidden_layers and for sharing
// keys of a type that no engine accepts.
ConfigReading read_schedule(const EngineProfile& profile, const Json& config, const Json& overrides,
                            const std::string& where);

// The layers that a pattern has letters for, ascending: all, or those of ratio 4 of DeepSeek-V4.
// Throws InputError naming `where` if config.json does not say which these are.
std::vector<std::size_t> lettered_layers(const Json& config, const std::string& where);

// Number of decoder layers in a config.json, 1 to 4096. Throws InputError naming `where`.
std::size_t config_layers(const Json& config, const std::string& where);

// Whether transformers reads this model with GLM's configuration class, which derives
// indexer_types. model_type decides before architectures.
bool is_glm_config(const Json& config);

}  // namespace indexcache
