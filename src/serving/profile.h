// SPDX-License-Identifier: Apache-2.0
// How each serving engine decides which layers run their indexer, version by version.
//
// An engine is its rows in serving/engine_table.cpp and nothing else: no other file asks for an
// engine by name. A rule that only one engine has is a column here. docs/engines.md shows the table
// to users, and tests/interop compares it with installed packages.
#pragma once

#include "core/frequency.h"
#include "io/json.h"
#include "serving/pipeline_stages.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// Keys of config.json that say which layers share. frequency is index_topk_freq together with
// index_skip_topk_offset.
enum class ScheduleKey { indexer_types, cli_factor, pattern, frequency };

// What an engine does with a value that it cannot use as it is.
enum class Tolerance {
  reads_full,  // the layer counts as F, silently
  ignored,     // the surplus has no effect, silently
  fails,       // the engine stops
};

// What a pipeline stage that begins with an S layer gets.
enum class StageStart {
  handed_over,  // the index set of the previous stage
  recomputed,   // its own: the first indexer of a stage runs whatever the pattern says
  refused,      // the engine does not start
  lost,         // nothing, as if the model began with S: see without_donor
  unknown,
};

// What an engine does if index_topk_freq is null, as in published configurations.
enum class NullFrequency { every_layer, fails };

// Models that engines run with code of their own: what holds for DeepSeek-V3.2 and GLM-5 need not
// hold for them, and an engine shares in them only if its row says so.
enum class ModelCode { dsa, axk2, hy_v4, deepseek_v4 };

struct EngineProfile;

// What is different in a row for such a model.
struct ModelRules {
  ModelCode code;
  void (*apply)(EngineProfile& row);
};

// How the keys reach the engine.
enum class HandOver {
  hf_overrides,              // --hf-overrides JSON
  json_model_override_args,  // --json-model-override-args JSON
  model_kwargs,              // a key of the YAML file of extra options
  config_json,               // keys of config.json itself
};

// One row: one engine from one version on. Defaults are what most engines do.
struct EngineProfile {
  // Which engine, and how we know.
  std::string_view name = {};   // as --engine takes it; the same in all rows of one engine
  std::string_view since = {};  // first version that behaves like this; empty if not known
  std::string_view read = {};   // last version, or source, in which the rules were read

  // What the export writes.
  HandOver hand_over = HandOver::config_json;
  std::vector<ScheduleKey> sends = {};
  bool sends_flag = false;  // with use_index_cache: true
  // In a GLM config.json that the export writes, indexer_types says which layers own indexer
  // weights, not which layers run them: to this engine "shared" means that the weights are absent.
  bool types_mean_ownership = false;

  // What the engine can run.
  std::string_view unsupported =
      {};                 // why it shares nothing and ignores every key; empty: it shares
  bool glm_only = false;  // shares in GLM-5 models, not in DeepSeek-V3.2
  std::vector<ModelRules> models = {};  // in which it shares as well
  // The version that loads a checkpoint with indexer weights on S layers again, because this one
  // stops at them; empty if this one loads it.
  std::string_view surplus_loads_since = {};
  // The version whose loader took a checkpoint folder with trained indexers in a shard of their own
  // (docs/interop.md); empty: nobody tried.
  std::string_view loads_trained = {};

  // Which key decides.
  std::vector<ScheduleKey> order = {};  // the first that is set
  bool through_hf_class = true;         // transformers' configuration class reads config.json first
  bool needs_flag = false;              // shares nothing unless use_index_cache is true
  bool frequency_is_flag = false;       // index_topk_freq > 1 does instead of use_index_cache

  // How it reads a pattern or indexer_types.
  bool any_case = false;                // f and s are F and S
  bool wants_full_first = false;        // stops at a pattern that does not begin with F
  bool empty_pattern_is_unset = false;  // "" counts as no pattern, not as one that is too short
  Tolerance unknown_letters = Tolerance::reads_full;
  Tolerance too_short = Tolerance::reads_full;  // fewer entries than layers
  Tolerance too_long = Tolerance::ignored;      // more entries than layers

  // How it reads index_topk_freq and index_skip_topk_offset (rules: core/frequency.h).
  FrequencyRule without_offset = FrequencyRule::b;
  FrequencyRule with_offset = FrequencyRule::b;  // A: the offset is ignored
  std::int64_t default_offset = 2;               // in layers; of rules B and D without an offset
  bool zero_offset_is_unset = false;             // offset 0 counts as no offset
  bool checks_offset = false;                    // stops at an offset below 1
  NullFrequency null_frequency = NullFrequency::fails;

  // What happens at run time.
  std::string_view without_donor = {};  // to an S layer with no earlier F layer
  StageStart stage_start = StageStart::unknown;
  StageCut stage_cut = StageCut::spare_before_last;
  std::string_view stage_variable = {};  // environment variable that sets the layers of each stage

  // What people see.
  bool shown_first = false;  // before the engines that a report folds away
  std::vector<std::string_view> caveats = {};
};

// Every row, engine by engine, versions ascending.
std::span<const EngineProfile> engine_profiles();

// Which code runs the model of a config.json, or an architecture: model_type decides before
// architectures.
ModelCode model_code(const Json& config);

// The row for that model. Where the engine does not share in it, `unsupported` says so.
EngineProfile rules_for(const EngineProfile& profile, ModelCode code);

// Names of the engines, in the order of engine_profiles().
std::vector<std::string> engine_names();

// The newest row of every engine, in the same order.
std::vector<const EngineProfile*> newest_profiles();

// "vllm since 0.25"; only the name if the first version is not known.
std::string title_of(const EngineProfile& profile);

struct ChosenProfile {
  const EngineProfile* profile;
  std::string warning;  // empty, or why the profile may not fit the version
};

// The row for a version ("0.33.0"); without one, the newest. Throws UsageError for an unknown
// engine, suggesting the nearest name.
ChosenProfile choose_profile(const std::string& engine, const std::string& version);

}  // namespace indexcache
