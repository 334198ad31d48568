// SPDX-License-Identifier: Apache-2.0
// How each serving engine decides which layers run their indexer, version by version. Read from the
// engines' own sources; docs/engines.md has the table with its origins, and tests/interop compares
// it with installed packages.
#pragma once

#include "serving/frequency.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

enum class ServingEngine {
  vllm,
  sglang,
  transformers,
  tensorrt_llm,
  vllm_ascend,
  xllm,
  lmdeploy,
  atom,
};

// Keys of config.json that say which layers share.
enum class ScheduleKey { indexer_types, cli_factor, pattern, frequency };

// What an engine does with a key that it cannot use as it stands.
enum class Tolerance {
  reads_full,  // the layer counts as F, silently
  ignored,     // the surplus has no effect, silently
  fails,       // the engine stops
};

// What a pipeline stage that begins with an S layer finds.
enum class StageStart { handed_over, refused, lost, unknown };

// What an engine does where index_topk_freq is null, as published configs have it.
enum class NullFrequency { every_layer, fails };

// How the pattern reaches the engine.
enum class HandOver {
  hf_overrides,              // --hf-overrides JSON
  json_model_override_args,  // --json-model-override-args JSON
  model_kwargs,              // a key of the YAML of extra options
  config_json,               // keys of config.json itself
};

struct EngineProfile {
  ServingEngine engine;
  std::string_view name;   // as --engine takes it
  std::string_view since;  // first version that behaves so; empty where that is not known
  std::string_view read;   // where this was read: a version or a source
  HandOver hand_over;
  std::vector<ScheduleKey> order;  // the first that is set decides
  std::vector<ScheduleKey> sends;  // keys that the export writes
  // Refuses every pattern: why. Such versions pass over the keys in silence.
  std::string_view unsupported;
  bool glm_only = false;         // DeepSeek-V3.2 has no sharing there
  bool needs_flag = false;       // shares nothing unless use_index_cache is true
  bool sends_flag = false;       // the export writes use_index_cache
  bool through_hf_class = true;  // config.json passes through transformers' class of the model
  bool any_case = false;         // s is S too
  bool loads_surplus = true;     // indexer weights of S layers do not stop the loading
  FrequencyRule without_offset = FrequencyRule::b;
  FrequencyRule with_offset = FrequencyRule::b;
  std::int64_t default_offset = 2;
  NullFrequency null_frequency = NullFrequency::fails;
  Tolerance unknown_letters = Tolerance::reads_full;
  Tolerance too_short = Tolerance::reads_full;
  Tolerance too_long = Tolerance::ignored;
  std::string_view first_shared;  // what happens where layer 0 is S
  StageStart stage_start = StageStart::unknown;
  std::vector<std::string_view> caveats;
};

// Every profile, engine by engine, versions ascending.
std::span<const EngineProfile> engine_profiles();

// Names of the engines, in the order of engine_profiles().
std::vector<std::string> engine_names();

// The newest profile of every engine, in the same order.
std::vector<const EngineProfile*> newest_profiles();

// "vllm since 0.25"; the name alone where the first version is not known.
std::string title_of(const EngineProfile& profile);

struct ChosenProfile {
  const EngineProfile* profile;
  std::string warning;  // empty, or why the profile may not fit the version
};

// The profile of a version ("0.33.0"); without one, the newest. Throws UsageError for an unknown
// engine, naming the nearest.
ChosenProfile choose_profile(const std::string& engine, const std::string& version);

}  // namespace indexcache
