// SPDX-License-Identifier: Apache-2.0
#include "serving/engine_export.h"

#include "core/error.h"
#include "serving/config_reading.h"
#include "serving/pipeline_stages.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <optional>

namespace indexcache {
namespace {

constexpr const char* kSharingKeys[] = {"use_index_cache",        "index_topk_pattern",
                                        "indexer_types",          "index_topk_freq",
                                        "index_skip_topk_offset", "cli_factor"};

constexpr const char* kOthers =
    "another engine (--all shows which of them take it), or a newer version of this one";

[[noreturn]] void refuse(const EngineProfile& profile, const std::string& why,
                         const std::string& remedy) {
  throw InputError({fmt::format("{} cannot run this pattern", title_of(profile)), "", why, remedy});
}

// Keys that carry the pattern to the engine.
Json sharing_keys(const EngineProfile& profile, const Pattern& pattern) {
  Json keys = Json::object();
  if (profile.sends_flag) keys["use_index_cache"] = true;
  for (const ScheduleKey key : profile.sends) {
    if (key == ScheduleKey::pattern) keys["index_topk_pattern"] = pattern.text();
    if (key == ScheduleKey::indexer_types) keys["indexer_types"] = indexer_types(pattern);
  }
  return keys;
}

// The smallest configuration in which the keys can be read back.
Json bare_config(const EngineProfile& profile, const Pattern& pattern, const ServedModel& model) {
  Json config{{"num_hidden_layers", pattern.layers()}};
  std::string architecture = model.architecture;
  if (architecture.empty() && profile.glm_only) architecture = kGlmArchitecture;
  if (!architecture.empty()) config["architectures"] = Json::array({architecture});
  if (model_code(config) == ModelCode::deepseek_v4) {
    config["compress_ratios"] = std::vector<int>(pattern.layers(), 4);
  }
  return config;
}

// Why a configuration that holds the exported keys does not give the pattern.
std::string mismatch(const ConfigReading& reading) {
  std::string why = reading.decided_by == "no key" && !reading.remarks.empty()
                        ? reading.remarks.front()
                        : fmt::format("{} of the model's config.json decides", reading.decided_by);
  return fmt::format("{}; the engine would run {}", why, reading.schedule);
}

// Throws unless the engine reads the pattern. Other keys of the model's own config.json may stop it
// or decide; without them the export itself would be wrong.
void check_reading(const EngineProfile& profile, const Pattern& pattern, const Json& config,
                   const Json& overrides, bool own_config) {
  const ConfigReading reading = read_schedule(profile, config, overrides, "the export");
  if (reading.schedule == pattern.text() && reading.failure.empty()) return;
  if (!reading.failure.empty() || own_config) {
    refuse(profile, reading.failure.empty() ? mismatch(reading) : reading.failure,
           "--write-config DIR writes a config.json without that key");
  }
  throw InternalError({"the export does not read back as the pattern", std::string(profile.name),
                       fmt::format("{} instead of {}", reading.schedule, pattern.text()),
                       "report it with the pattern"});
}

void check_length(const Pattern& pattern, const Json& config, const std::string& where) {
  const std::size_t layers = lettered_layers(config, where).size();
  if (layers == pattern.layers()) return;
  throw InputError(
      {"the pattern has the wrong length", where,
       fmt::format("it has {} characters, the configuration has {} layers{}", pattern.layers(),
                   layers, layers == config_layers(config, where) ? "" : " of ratio 4"),
       "the config.json of the model that was searched"});
}

ModelCode code_of(const ServedModel& model) {
  if (model.config.is_object()) return model_code(model.config);
  return model_code(Json{{"architectures", Json::array({model.architecture})}});
}

// A model of which nothing is known may be GLM.
bool may_be_glm(const ServedModel& model) {
  if (model.config.is_object()) return is_glm_config(model.config);
  return model.architecture.empty() || model.architecture == kGlmArchitecture;
}

void check_expressible(const EngineProfile& profile, const Pattern& pattern,
                       const ServedModel& model) {
  if (!profile.unsupported.empty()) {
    refuse(profile, std::string(profile.unsupported), kOthers);
  }
  if (profile.glm_only && !may_be_glm(model)) {
    refuse(profile,
           fmt::format("it supports index sharing only in GLM-5 models; this is {}",
                       model.architecture.empty() ? "another model" : model.architecture),
           kOthers);
  }
  if (model.needs_trained_indexers && profile.loads_trained.empty()) {
    refuse(profile,
           "the pattern needs indexers that were trained for it, and this engine was not seen to "
           "load a checkpoint folder that has them in a shard of their own",
           "vllm, sglang or transformers");
  }
  if (model.has_indexer.empty()) return;
  check_fits(pattern, model.has_indexer, "pattern");
  if (profile.surplus_loads_since.empty()) return;
  for (std::size_t layer = 0; layer < pattern.layers(); ++layer) {
    if (pattern.is_full(layer) || !model.has_indexer[layer]) continue;
    refuse(profile,
           fmt::format("it fails to load the indexer weights of layer {}: it expects none on "
                       "shared layers",
                       layer),
           fmt::format("version {} or later", profile.surplus_loads_since));
  }
}

// The layers that stages divide, and which of them have letters.
struct StagedLayers {
  std::size_t count;
  std::vector<std::size_t> lettered;
};

StagedLayers staged_layers(const EngineProfile& profile, const Pattern& pattern,
                           const ServedModel& model) {
  if (model.config.is_object()) {
    return {config_layers(model.config, "config.json"),
            lettered_layers(model.config, "config.json")};
  }
  if (code_of(model) == ModelCode::deepseek_v4) {
    refuse(profile, "which layers the letters are is not known without the model's config.json",
           "--model DIR");
  }
  std::vector<std::size_t> all(pattern.layers());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return {all.size(), all};
}

// The first lettered layer of every stage but the first, where it is S.
std::vector<std::size_t> shared_starts(const Pattern& pattern, const StagedLayers& layers,
                                       const std::vector<std::size_t>& sizes) {
  std::vector<std::size_t> edges = stage_starts(sizes, layers.count), shared;
  edges.push_back(layers.count);
  for (std::size_t stage = 0; stage + 1 < edges.size(); ++stage) {
    const auto first = std::ranges::lower_bound(layers.lettered, edges[stage]);
    if (first == layers.lettered.end() || *first >= edges[stage + 1]) continue;
    if (!pattern.is_full(static_cast<std::size_t>(first - layers.lettered.begin()))) {
      shared.push_back(*first);
    }
  }
  return shared;
}

// "VLLM_PP_LAYER_PARTITION=39,39" if the engine has such a variable, else only the sizes.
std::string partition_text(const EngineProfile& profile, const std::vector<std::size_t>& sizes) {
  const std::string list = fmt::format("{}", fmt::join(sizes, ","));
  return profile.stage_variable.empty() ? fmt::format("stages of {} layers", list)
                                        : fmt::format("{}={}", profile.stage_variable, list);
}

std::string advice(const EngineProfile& profile, const Pattern& pattern, const StagedLayers& layers,
                   std::size_t stages) {
  const bool all = layers.count == pattern.layers();
  const auto sizes = all ? stages_on_full_layers(pattern, stages) : std::nullopt;
  if (!sizes) return "use fewer stages, or search with --pp-size";
  return fmt::format("{}, or search with --pp-size {}", partition_text(profile, *sizes), stages);
}

// What becomes of a stage that begins with an S layer and does not get an index set.
std::string stage_text(const EngineProfile& profile) {
  switch (profile.stage_start) {
    case StageStart::refused:
      return "the engine refuses to start";
    case StageStart::recomputed:
      return "the engine runs its indexer, which is another pattern";
    case StageStart::lost:
      return fmt::format("index sets are not passed between pipeline stages; {}",
                         profile.without_donor);
    default:
      return "it is not known whether index sets are passed between its pipeline stages";
  }
}

void check_stages(const EngineProfile& profile, const Pattern& pattern, const ServedModel& model,
                  const ServedStages& stages) {
  const bool stated = !stages.partition.empty();
  if ((!stated && stages.count < 2) || profile.stage_start == StageStart::handed_over) return;
  const StagedLayers layers = staged_layers(profile, pattern, model);
  const auto sizes =
      stated ? stages.partition : even_stages(profile.stage_cut, stages.count, layers.count);
  const auto shared = shared_starts(pattern, layers, sizes);
  if (shared.empty()) return;
  refuse(
      profile,
      fmt::format("the first layer with an indexer of a pipeline stage is the shared layer {}: {}",
                  shared.front(), stage_text(profile)),
      advice(profile, pattern, layers, sizes.size()));
}

// What an operator who adds pipeline stages later must know.
void warn_of_stages(const EngineProfile& profile, const Pattern& pattern, const ServedModel& model,
                    const ServedStages& stages, std::vector<std::string>& caveats) {
  if (stages.count > 0 || !stages.partition.empty()) return;
  if (profile.stage_start == StageStart::handed_over) return;
  if (code_of(model) == ModelCode::deepseek_v4 && !model.config.is_object()) {
    caveats.push_back(
        "pipeline parallelism was not checked, because which layers the letters are is not known "
        "without the model's config.json: give --model DIR");
    return;
  }
  const StagedLayers layers = staged_layers(profile, pattern, model);
  std::vector<std::string> unsafe;
  for (const std::size_t count : {2, 4, 8}) {
    if (count > layers.count) continue;
    const auto sizes = even_stages(profile.stage_cut, count, layers.count);
    const auto shared = shared_starts(pattern, layers, sizes);
    if (!shared.empty()) unsafe.push_back(fmt::format("{} ({})", count, fmt::join(shared, " ")));
  }
  if (unsafe.empty()) return;
  caveats.push_back(fmt::format(
      "pipeline parallelism: the first layers with an indexer of even stages would be shared for "
      "sizes {}; {}. `export --pp-size P` suggests a partition",
      fmt::join(unsafe, ", "), stage_text(profile)));
}

std::string paste_text(const EngineProfile& profile, const Json& keys) {
  switch (profile.hand_over) {
    case HandOver::hf_overrides:
      return fmt::format("--hf-overrides '{}'\n", keys.dump());
    case HandOver::json_model_override_args:
      return fmt::format("--json-model-override-args '{}'\n", keys.dump());
    case HandOver::model_kwargs: {
      std::string text = "model_kwargs:\n";
      for (const auto& [key, value] : keys.items()) {
        text += fmt::format("  {}: {}\n", key, value.dump());
      }
      return text;
    }
    case HandOver::config_json:
      break;
  }
  std::string text;
  for (const auto& [key, value] : keys.items()) {
    text += fmt::format("{}\"{}\": {}", text.empty() ? "" : ",\n", key, value.dump());
  }
  return text + "\n";
}

std::string_view hand_over_name(HandOver way) {
  switch (way) {
    case HandOver::hf_overrides:
      return "hf_overrides";
    case HandOver::json_model_override_args:
      return "json_model_override_args";
    case HandOver::model_kwargs:
      return "model_kwargs";
    case HandOver::config_json:
      break;
  }
  return "config_json";
}

}  // namespace

Json indexer_types(const Pattern& pattern) {
  Json types = Json::array();
  for (const char letter : pattern.text()) types.push_back(letter == 'F' ? "full" : "shared");
  return types;
}

EngineExport export_pattern(const EngineProfile& row, const Pattern& pattern,
                            const ServedModel& model, const ServedStages& stages) {
  const EngineProfile profile = rules_for(row, code_of(model));
  check_expressible(profile, pattern, model);
  check_stages(profile, pattern, model, stages);
  EngineExport result{.keys = sharing_keys(profile, pattern), .text = "", .caveats = {}};
  result.text = paste_text(profile, result.keys);
  const bool own_config = model.config.is_object();
  const Json config = own_config ? model.config : bare_config(profile, pattern, model);
  if (profile.hand_over == HandOver::config_json) {
    patched_config(profile, pattern, config, model.has_indexer, "config.json");
  } else {
    check_length(pattern, config, "config.json");
    check_reading(profile, pattern, config, result.keys, own_config);
  }
  for (const std::string_view caveat : profile.caveats) result.caveats.emplace_back(caveat);
  if (model.needs_trained_indexers) {
    result.caveats.push_back(
        fmt::format("the pattern is only good with the indexers that were trained for it: serve "
                    "the folder that "
                    "has them, not the released checkpoint (such a folder was loaded by {} {})",
                    profile.name, profile.loads_trained));
  }
  if (profile.glm_only && model.architecture.empty()) {
    result.caveats.emplace_back("only for GLM-5 models; the model of this pattern is not known");
  }
  if (stages.count > 1) {
    result.caveats.push_back(fmt::format("checked for {} even pipeline stages", stages.count));
  }
  if (!stages.partition.empty()) {
    result.caveats.push_back("serve with " + partition_text(profile, stages.partition));
  }
  warn_of_stages(profile, pattern, model, stages, result.caveats);
  return result;
}

Json patched_config(const EngineProfile& row, const Pattern& pattern, const Json& config,
                    const std::vector<bool>& has_indexer, const std::string& where) {
  const EngineProfile profile = rules_for(row, model_code(config));
  check_length(pattern, config, where);
  Json patched = config;
  for (const char* key : kSharingKeys) patched.erase(key);
  patched.update(sharing_keys(profile, pattern));
  // If the key were absent, transformers would derive it from the pattern.
  if (profile.types_mean_ownership && is_glm_config(config)) {
    const auto owners = has_indexer.empty() ? Pattern::all_full(pattern.layers())
                                            : Pattern::from_full_layers(has_indexer);
    patched["indexer_types"] = indexer_types(owners);
  }
  check_reading(profile, pattern, patched, Json::object(), true);
  return patched;
}

Json engines_json(const Pattern& pattern, const ServedModel& model) {
  Json engines = Json::object();
  for (const EngineProfile* profile : newest_profiles()) {
    try {
      const EngineExport result = export_pattern(*profile, pattern, model, {});
      engines[std::string(profile->name)] = Json{{hand_over_name(profile->hand_over), result.keys}};
    } catch (const InputError&) {
      continue;  // not expressible; `export` says why
    }
  }
  return engines;
}

}  // namespace indexcache
