// SPDX-License-Identifier: Apache-2.0
#include "serving/profile.h"

#include "core/error.h"
#include "core/nearest_name.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

namespace indexcache {
namespace {

using enum ScheduleKey;

constexpr std::string_view kGarbage = "layer 0 reads an index buffer that nobody has written";
constexpr std::string_view kMtp =
    "MTP layers are not part of the pattern and keep their indexer: measure the acceptance rate of "
    "speculative decoding again";

constexpr std::string_view kVllmKeys =
    "the pattern decides before index_topk_freq, and indexer_types is not read; use_index_cache is "
    "what the engine's documentation asks for";

std::vector<EngineProfile> vllm() {
  EngineProfile base{
      .engine = ServingEngine::vllm,
      .name = "vllm",
      .since = "",
      .read = "0.20.0",
      .hand_over = HandOver::hf_overrides,
      .order = {pattern, frequency},
      .sends = {pattern},
      .unsupported =
          "it has no index cache: every layer runs its indexer, whatever "
          "the configuration says",
      .sends_flag = true,
      .first_shared = kGarbage,
      .stage_start = StageStart::lost,
      .caveats = {},
  };
  EngineProfile flag = base;
  flag.since = "0.21";
  flag.read = "0.22.0";
  flag.unsupported = "";
  flag.needs_flag = true;
  flag.without_offset = flag.with_offset = FrequencyRule::a;
  flag.caveats = {"without use_index_cache: true the pattern is not looked at",
                  "S layers keep their index-K cache: time is saved, memory is not", kMtp};
  EngineProfile offset = flag;
  offset.since = offset.read = "0.23";
  offset.needs_flag = false;
  offset.caveats.front() = kVllmKeys;
  offset.without_offset = offset.with_offset = FrequencyRule::b;
  EngineProfile stops = offset;
  stops.since = stops.read = "0.24";
  stops.loads_surplus = false;
  stops.caveats = {kVllmKeys, kMtp};
  EngineProfile current = stops;
  current.since = "0.25";
  current.read = "0.33.0";
  current.loads_surplus = true;
  current.caveats = {kVllmKeys, "S layers have no index-K cache", kMtp};
  return {base, flag, offset, stops, current};
}

std::vector<EngineProfile> sglang() {
  constexpr std::string_view kTbo =
      "--enable-two-batch-overlap is refused at start-up together with sharing";
  EngineProfile first{
      .engine = ServingEngine::sglang,
      .name = "sglang",
      .since = "0.5.10",
      .read = "0.5.13",
      .hand_over = HandOver::json_model_override_args,
      .order = {pattern, frequency},
      .sends = {pattern},
      .unsupported = "",
      .without_offset = FrequencyRule::a,
      .null_frequency = NullFrequency::fails,
      .too_short = Tolerance::fails,
      .first_shared = "the first forward pass stops",
      .stage_start = StageStart::lost,
      .caveats = {"two-batch overlap does not carry index sets from layer to layer", kMtp},
  };
  EngineProfile helper = first;
  helper.since = "0.5.14";
  helper.read = "0.5.17";
  helper.null_frequency = NullFrequency::every_layer;
  helper.too_short = Tolerance::reads_full;
  helper.stage_start = StageStart::handed_over;
  helper.caveats = {kTbo, "S layers keep their index-K cache: time is saved, memory is not", kMtp};
  EngineProfile factor = helper;
  factor.since = "0.5.18";
  factor.read = "0.5.19";
  factor.order = {cli_factor, pattern, frequency};
  factor.caveats = {kTbo, "S layers have no index-K cache",
                    "prefill and decode servers need the same pattern", kMtp};
  EngineProfile types = factor;
  types.since = "0.5.20";
  types.read = "0.5.23";
  types.order = {indexer_types, cli_factor, pattern, frequency};
  types.sends = {pattern, indexer_types};
  types.caveats.insert(types.caveats.begin(),
                       "indexer_types decides before the pattern, and transformers gives every "
                       "GLM-5 configuration one: both are sent");
  return {first, helper, factor, types};
}

EngineProfile transformers() {
  return {
      .engine = ServingEngine::transformers,
      .name = "transformers",
      .since = "",
      .read = "5.23.0",
      .hand_over = HandOver::config_json,
      .order = {indexer_types},
      .sends = {indexer_types},
      .unsupported = "",
      .glm_only = true,
      .too_short = Tolerance::fails,
      .first_shared = "the forward pass stops",
      .stage_start = StageStart::lost,
      .caveats = {"AutoModelForCausalLM.from_pretrained(MODEL, indexer_types=[…]) does the same",
                  "indexer weights of S layers are reported as unexpected and dropped"},
  };
}

EngineProfile tensorrt_llm() {
  return {
      .engine = ServingEngine::tensorrt_llm,
      .name = "tensorrt-llm",
      .since = "",
      .read = "pull request 15574 of July 2026; no package could be read",
      .hand_over = HandOver::model_kwargs,
      .order = {pattern, frequency},
      .sends = {pattern},
      .unsupported = "",
      .sends_flag = true,
      .any_case = true,
      .first_shared = kGarbage,
      .stage_start = StageStart::unknown,
      .caveats = {"put it into the YAML of extra options (--extra_llm_api_options)",
                  "model_kwargs is a prototype of the engine that passes over keys it does not "
                  "know: --write-config DIR makes a config.json instead",
                  kMtp},
  };
}

std::vector<EngineProfile> vllm_ascend() {
  EngineProfile first{
      .engine = ServingEngine::vllm_ascend,
      .name = "vllm-ascend",
      .since = "0.23",
      .read = "0.25.1rc1",
      .hand_over = HandOver::hf_overrides,
      .order = {pattern, frequency},
      .sends = {pattern},
      .unsupported = "",
      .sends_flag = true,
      .first_shared = kGarbage,
      .stage_start = StageStart::lost,
      .caveats = {"without use_index_cache F layers do not keep what S layers read: "
                  "silently wrong output",
                  "never send indexer_types for a checkpoint whose layers all own an "
                  "indexer: their weights are then refused",
                  kMtp},
  };
  EngineProfile refuses = first;
  refuses.since = "0.27";
  refuses.read = "0.27.1rc1";
  refuses.stage_start = StageStart::refused;
  EngineProfile hands_over = refuses;
  hands_over.since = "0.30";
  hands_over.read = "0.30.0rc2";
  hands_over.stage_start = StageStart::handed_over;
  return {first, refuses, hands_over};
}

EngineProfile xllm() {
  return {
      .engine = ServingEngine::xllm,
      .name = "xllm",
      .since = "",
      .read = "sources of August 2026; no package could be read",
      .hand_over = HandOver::config_json,
      .order = {pattern, frequency},
      .sends = {pattern, indexer_types},
      .unsupported = "",
      .sends_flag = true,
      .through_hf_class = false,
      .any_case = true,
      .without_offset = FrequencyRule::a,
      .default_offset = 0,
      .null_frequency = NullFrequency::every_layer,
      .unknown_letters = Tolerance::fails,
      .too_short = Tolerance::fails,
      .too_long = Tolerance::fails,
      .first_shared = "a check stops the engine at run time",
      .stage_start = StageStart::unknown,
      .caveats = {"it has no override option: serve the config.json of --write-config DIR",
                  "context-parallel prefill with sharing is not supported",
                  "a draft model has a configuration of its own: this one is the backbone's"},
  };
}

EngineProfile lmdeploy() {
  return {
      .engine = ServingEngine::lmdeploy,
      .name = "lmdeploy",
      .since = "",
      .read = "0.18.0",
      .hand_over = HandOver::hf_overrides,
      .order = {indexer_types},
      .sends = {indexer_types},
      .unsupported = "",
      .glm_only = true,
      .first_shared = "the first forward pass stops, later ones read stale indices",
      .stage_start = StageStart::unknown,
      .caveats = {"PyTorch engine alone (--backend pytorch)", kMtp},
  };
}

EngineProfile atom() {
  return {
      .engine = ServingEngine::atom,
      .name = "atom",
      .since = "",
      .read = "sources of August 2026; no package could be read",
      .hand_over = HandOver::config_json,
      .order = {indexer_types, pattern, frequency},
      .sends = {pattern, indexer_types},
      .unsupported = "",
      .needs_flag = true,
      .sends_flag = true,
      .without_offset = FrequencyRule::a,
      .with_offset = FrequencyRule::d,
      .first_shared = kGarbage,
      .stage_start = StageStart::handed_over,
      .caveats = {kMtp},
  };
}

std::vector<EngineProfile> all_profiles() {
  std::vector<EngineProfile> all = vllm();
  const auto append = [&](const std::vector<EngineProfile>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  append(sglang());
  append({transformers(), tensorrt_llm()});
  append(vllm_ascend());
  append({xllm(), lmdeploy(), atom()});
  return all;
}

// Leading numbers: {0, 5, 13} of "0.5.13.post1"; empty where there are none.
std::vector<int> version_numbers(std::string_view text) {
  std::vector<int> numbers;
  if (text.starts_with('v')) text.remove_prefix(1);
  while (!text.empty()) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) break;
    numbers.push_back(number);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (!text.starts_with('.')) break;
    text.remove_prefix(1);
  }
  return numbers;
}

// Whether `version` is later than `read`, in the numbers that `read` states.
bool beyond(const std::vector<int>& version, const std::vector<int>& read) {
  const std::vector<int> part(version.begin(),
                              version.begin() + std::min(version.size(), read.size()));
  return part > read;
}

}  // namespace

std::span<const EngineProfile> engine_profiles() {
  static const std::vector<EngineProfile> profiles = all_profiles();
  return profiles;
}

std::vector<const EngineProfile*> newest_profiles() {
  std::vector<const EngineProfile*> newest;
  for (const EngineProfile& profile : engine_profiles()) {
    if (newest.empty() || newest.back()->engine != profile.engine) newest.push_back(&profile);
    newest.back() = &profile;
  }
  return newest;
}

std::vector<std::string> engine_names() {
  std::vector<std::string> names;
  for (const EngineProfile* profile : newest_profiles()) names.emplace_back(profile->name);
  return names;
}

std::string title_of(const EngineProfile& profile) {
  return profile.since.empty() ? std::string(profile.name)
                               : fmt::format("{} since {}", profile.name, profile.since);
}

ChosenProfile choose_profile(const std::string& engine, const std::string& version) {
  const EngineProfile* oldest = nullptr;
  const EngineProfile* newest = nullptr;
  const EngineProfile* chosen = nullptr;
  const std::vector<int> wanted = version_numbers(version);
  for (const EngineProfile& profile : engine_profiles()) {
    if (profile.name != engine) continue;
    if (oldest == nullptr) oldest = &profile;
    newest = &profile;
    if (version_numbers(profile.since) <= wanted) chosen = &profile;
  }
  if (newest == nullptr) {
    const std::string near = nearest_name(engine, engine_names());
    throw UsageError({fmt::format("there is no profile of the engine \"{}\"", engine), "--engine",
                      fmt::format("known are {}", fmt::join(engine_names(), ", ")),
                      near.empty() ? "" : fmt::format("--engine {}", near)});
  }
  if (version.empty()) return {newest, ""};
  const std::vector<int> read = version_numbers(newest->read);
  if (wanted.empty() || read.empty()) {
    return {newest,
            fmt::format("{} {} was not read: this is what {} does", engine, version, newest->read)};
  }
  if (chosen == nullptr) {
    return {oldest, fmt::format("{} {} is older than any version that was read: this is what {} {} "
                                "does",
                                engine, version, engine, oldest->read)};
  }
  if (chosen == newest && beyond(wanted, read)) {
    return {newest, fmt::format("{} {} is newer than {}, the last version that was read", engine,
                                version, newest->read)};
  }
  return {chosen, ""};
}

}  // namespace indexcache
