// SPDX-License-Identifier: Apache-2.0
// A pattern in the words of a serving engine: what to paste, and what to know about it.
#pragma once

#include "core/pattern.h"
#include "io/json.h"
#include "serving/profile.h"

#include <cstddef>
#include <string>
#include <vector>

namespace indexcache {

// What is known of the model that the pattern is for; empty members where it is not.
struct ServedModel {
  std::string architecture;       // architectures[0]
  std::vector<bool> has_indexer;  // [L]
  Json config;                    // content of its config.json
};

// Stages of pipeline parallelizm; empty for one stage.
struct ServedStages {
  std::size_t count = 0;               // cut evenly by the engine, or
  std::vector<std::size_t> partition;  // layers of each stage
};

struct EngineExport {
  Json keys;                         // what the engine has to find in its configuration
  std::string text;                  // to paste: a flag, lines of YAML, or keys of config.json
  std::vector<std::string> caveats;  // of this engine, version, model and pattern
};

// The pattern for an engine. What is returned was read back by the engine's own rules and gave the
// pattern. Throws InputError with the reason where the engine cannot express or run it: sharing
// that it does not know for this model, indexer weights that it cannot load past, a pipeline stage
// that begins with an S layer and gets no index set.
EngineExport export_pattern(const EngineProfile& profile, const Pattern& pattern,
                            const ServedModel& model, const ServedStages& stages);

// `config` with the pattern in the keys that the engine reads and every other sharing key removed;
// other keys keep their place. Read back like export_pattern.
Json patched_config(const EngineProfile& profile, const Pattern& pattern, const Json& config,
                    const std::vector<bool>& has_indexer, const std::string& where);

// {"vllm": {"hf_overrides": {...}}, ...}: the newest profile of every engine that can express the
// pattern for this model.
Json engines_json(const Pattern& pattern, const ServedModel& model);

// "full" and "shared", a layer each.
Json indexer_types(const Pattern& pattern);

}  // namespace indexcache
