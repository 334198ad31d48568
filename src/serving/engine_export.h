// SPDX-License-Identifier: Apache-2.0
// A pattern in the keys of a serving engine: what to paste, and what to know about it.
#pragma once

#include "core/pattern.h"
#include "io/json.h"
#include "serving/profile.h"

#include <cstddef>
#include <string>
#include <vector>

namespace indexcache {

// What is known about the model that the pattern is for; members that are not known are empty.
struct ServedModel {
  std::string architecture;       // architectures[0]
  std::vector<bool> has_indexer;  // [L]
  Json config;                    // content of its config.json
  // The pattern needs indexers that were trained for it: a checkpoint folder that has them.
  bool needs_trained_indexers = false;
};

// Stages of pipeline parallelism; empty for one stage. At most one of the two is set.
struct ServedStages {
  std::size_t count = 0;               // stages that the engine cuts evenly by itself
  std::vector<std::size_t> partition;  // layers of each stage
};

struct EngineExport {
  Json keys;                         // what the engine must find in its configuration
  std::string text;                  // to paste: a flag, lines of YAML, or keys of config.json
  std::vector<std::string> caveats;  // for this engine, version, model and pattern
};

// The pattern for an engine. What is returned was read back by the engine's own rules and gave the
// pattern. Throws InputError with the reason if the engine cannot express or run it: it does not
// share in this model, it stops at indexer weights of S layers, nobody has seen it load
// trained indexers that the pattern needs, a pipeline stage begins with an S
// layer and gets no index set, or another key of the model's config.json decides.
EngineExport export_pattern(const EngineProfile& profile, const Pattern& pattern,
                            const ServedModel& model, const ServedStages& stages);

// `config` with the pattern in the keys that the engine reads and without any other sharing key;
// the remaining keys keep their order. Read back as by export_pattern. Throws InputError naming
// `where` if the lengths differ.
Json patched_config(const EngineProfile& profile, const Pattern& pattern, const Json& config,
                    const std::vector<bool>& has_indexer, const std::string& where);

// {"vllm": {"hf_overrides": {...}}, ...}: the newest profile of every engine that can express the
// pattern for this model.
Json engines_json(const Pattern& pattern, const ServedModel& model);

// "full" or "shared" per layer.
Json indexer_types(const Pattern& pattern);

}  // namespace indexcache
