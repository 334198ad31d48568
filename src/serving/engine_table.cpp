// SPDX-License-Identifier: Apache-2.0
#include "serving/engine_table.h"

#include <utility>

namespace indexcache {
namespace {

using enum ScheduleKey;

using Rows = std::vector<EngineProfile>;

// Appends the row of a later version: the one before it with what `change` sets.
template <typename Change>
void since(std::string_view version, std::string_view read, Rows& rows, Change change) {
  EngineProfile row = rows.back();
  row.since = version;
  row.read = read;
  change(row);
  rows.push_back(std::move(row));
}

constexpr std::string_view kGarbage = "the layer reads uninitialized memory";
constexpr std::string_view kMtp =
    "MTP layers are not part of the pattern and keep their indexer; if you use speculative "
    "decoding, measure its acceptance rate again";
constexpr std::string_view kKeepsCache =
    "S layers keep their index-K cache: sharing saves time but no memory";
constexpr std::string_view kSavesCache = "S layers allocate no index-K cache";
constexpr std::string_view kTwoBatch =
    "with sharing, the engine refuses to start with --enable-two-batch-overlap";
constexpr std::string_view kBothKeys =
    "both keys are sent: indexer_types takes precedence over the pattern, and transformers adds "
    "one to every GLM-5 configuration";
constexpr std::string_view kSamePattern = "prefill and decode servers must use the same pattern";

// The configuration classes of Hy4 state indexer_types where config.json does not, so that a
// pattern by itself would have no effect.
void hy4_by_types(EngineProfile& row) {
  row.sends = {indexer_types};
  row.sends_flag = false;
  row.glm_only = false;
  row.loads_trained = "";
  row.unknown_letters = row.too_short = row.too_long = Tolerance::fails;
}

// DeepseekV32Attention.__init__ in models/deepseek_v32/attention.py, compute_skip_topk_layers in
// models/hy_v4/nvidia/attention.py; get_pp_indices.
Rows vllm() {
  constexpr std::string_view kKeys =
      "index_topk_pattern takes precedence over index_topk_freq, and indexer_types is not read; "
      "use_index_cache is sent because the engine's documentation requires it";
  Rows rows{{
      .name = "vllm",
      .read = "0.20.0",
      .hand_over = HandOver::hf_overrides,
      .sends = {pattern},
      .sends_flag = true,
      .unsupported =
          "it has no index cache: every layer runs its indexer, whatever the configuration says",
      .order = {pattern, frequency},
      .without_donor = kGarbage,
      .stage_start = StageStart::lost,
      .stage_variable = "VLLM_PP_LAYER_PARTITION",
      .shown_first = true,
  }};
  since("0.21", "0.22.0", rows, [](EngineProfile& row) {
    row.unsupported = "";
    row.needs_flag = true;
    row.without_offset = row.with_offset = FrequencyRule::a;
    row.caveats = {"without use_index_cache: true the pattern is ignored", kKeepsCache, kMtp};
  });
  since("0.23", "0.23", rows, [&](EngineProfile& row) {
    row.needs_flag = false;
    row.without_offset = row.with_offset = FrequencyRule::b;
    row.caveats = {kKeys, kKeepsCache, kMtp};
  });
  since("0.24", "0.24", rows, [&](EngineProfile& row) {
    row.surplus_loads_since = "0.25";
    row.caveats = {kKeys, kMtp};
  });
  since("0.25", "0.33.0", rows, [&](EngineProfile& row) {
    row.surplus_loads_since = "";
    row.loads_trained = "0.33.0";
    row.caveats = {kKeys, kSavesCache, kMtp};
    row.models = {{ModelCode::hy_v4, [](EngineProfile& hy4) {
                     hy4_by_types(hy4);
                     hy4.order = {indexer_types, pattern, frequency};
                     hy4.caveats = {"Hy4 was read in 0.33.0: earlier versions may not load it",
                                    kSavesCache, kMtp};
                   }}};
  });
  return rows;
}

// dsa_layer_skips_topk in srt/configs/model_config.py, srt/configs/hy_v4.py; get_pp_indices.
Rows sglang() {
  Rows rows{{
      .name = "sglang",
      .since = "0.5.10",
      .read = "0.5.13",
      .hand_over = HandOver::json_model_override_args,
      .sends = {pattern},
      .order = {pattern, frequency},
      .too_short = Tolerance::fails,
      .without_offset = FrequencyRule::a,
      .checks_offset = true,
      .without_donor = "the first forward pass fails",
      .stage_start = StageStart::lost,
      .stage_cut = StageCut::spare_last,
      .stage_variable = "SGLANG_PP_LAYER_PARTITION",
      .shown_first = true,
      .caveats = {"do not use two-batch overlap: it does not pass index sets from layer to layer",
                  kMtp},
  }};
  since("0.5.14", "0.5.17", rows, [&](EngineProfile& row) {
    row.too_short = Tolerance::reads_full;
    row.null_frequency = NullFrequency::every_layer;
    row.stage_start = StageStart::handed_over;
    row.caveats = {kTwoBatch, kKeepsCache, kMtp};
  });
  since("0.5.18", "0.5.19", rows, [&](EngineProfile& row) {
    row.order = {cli_factor, pattern, frequency};
    row.caveats = {kTwoBatch, kSavesCache, kSamePattern, kMtp};
  });
  since("0.5.20", "0.5.23", rows, [&](EngineProfile& row) {
    row.sends = {pattern, indexer_types};
    row.order = {indexer_types, cli_factor, pattern, frequency};
    row.loads_trained = "0.5.23";
    row.models = {{ModelCode::hy_v4, [](EngineProfile& hy4) {
                     hy4_by_types(hy4);
                     hy4.caveats = {"Hy4 was read in 0.5.23: earlier versions may not load it",
                                    kTwoBatch, kSavesCache, kSamePattern, kMtp};
                   }}};
    row.caveats = {kBothKeys, kTwoBatch, kSavesCache, kSamePattern, kMtp};
  });
  return rows;
}

// GlmMoeDsaConfig and GlmMoeDsaAttention.__init__, which index the list with every layer; so do
// those of HYV4, since 5.23.
Rows transformers() {
  return {{
      .name = "transformers",
      .read = "5.24.0",
      .hand_over = HandOver::config_json,
      .sends = {indexer_types},
      .glm_only = true,
      .models = {{ModelCode::hy_v4,
                  [](EngineProfile& hy4) {
                    hy4_by_types(hy4);
                    hy4.loads_trained = "5.23.0";
                  }}},
      .loads_trained = "5.17.0",
      .order = {indexer_types},
      .too_short = Tolerance::fails,
      .without_donor = "the forward pass fails",
      .stage_start = StageStart::lost,
      .caveats =
          {"AutoModelForCausalLM.from_pretrained(MODEL, indexer_types=[…]) has the same effect",
           "indexer weights of S layers are reported as unexpected and dropped"},
  }};
}

// Pull request 15574, which states parity with vLLM and SGLang.
Rows tensorrt_llm() {
  return {{
      .name = "tensorrt-llm",
      .read = "pull request 15574 of July 2026; no package was available",
      .hand_over = HandOver::model_kwargs,
      .sends = {pattern},
      .sends_flag = true,
      .order = {pattern, frequency},
      .any_case = true,
      .without_donor = kGarbage,
      .caveats =
          {"put these lines into the YAML file of --extra_llm_api_options",
           "model_kwargs is a prototype feature that ignores unknown keys silently; --write-config "
           "DIR writes a config.json instead",
           kMtp},
  }};
}

// dsv4_skips_indexer_topk in utils.py, before 0.27 the same statements in models/deepseek_v4.py.
void ascend_v4(EngineProfile& row) {
  row.needs_flag = true;
  row.types_mean_ownership = false;
  row.without_offset = row.with_offset = FrequencyRule::a;
  row.wants_full_first = true;
  row.caveats = {
      "the letters are those of the layers of ratio 4, in order, as compress_ratios lists them",
      "DeepSeek-V4 was read in 0.26.0rc1 and 0.30.0rc2", kKeepsCache, kMtp};
}

// should_reuse_topk in utils.py; platform.py for the stages.
Rows vllm_ascend() {
  Rows rows{{
      .name = "vllm-ascend",
      .since = "0.23",
      .read = "0.25.1rc1",
      .hand_over = HandOver::hf_overrides,
      .sends = {pattern},
      .sends_flag = true,
      .types_mean_ownership = true,
      .models = {{ModelCode::deepseek_v4, ascend_v4}},
      .order = {pattern, frequency},
      .without_donor = kGarbage,
      .stage_start = StageStart::lost,
      .stage_variable = "VLLM_PP_LAYER_PARTITION",
      .caveats =
          {"without use_index_cache F layers do not store the index sets that S layers read: the "
           "output is silently wrong",
           "do not send indexer_types for a checkpoint in which every layer owns an indexer: the "
           "engine then refuses to load their weights",
           kMtp},
  }};
  since("0.27", "0.27.1rc1", rows,
        [](EngineProfile& row) { row.stage_start = StageStart::refused; });
  since("0.30", "0.30.0rc2", rows, [](EngineProfile& row) {
    row.stage_start = StageStart::handed_over;
    row.models = {{ModelCode::deepseek_v4, [](EngineProfile& v4) {
                     ascend_v4(v4);
                     v4.stage_start = StageStart::recomputed;
                   }}};
  });
  return rows;
}

// Commit 3906f5a9.
Rows xllm() {
  return {{
      .name = "xllm",
      .read = "sources of August 2026; no package was available",
      .hand_over = HandOver::config_json,
      .sends = {pattern, indexer_types},
      .sends_flag = true,
      .order = {pattern, frequency},
      .through_hf_class = false,
      .any_case = true,
      .empty_pattern_is_unset = true,
      .unknown_letters = Tolerance::fails,
      .too_short = Tolerance::fails,
      .too_long = Tolerance::fails,
      .without_offset = FrequencyRule::a,
      .zero_offset_is_unset = true,
      .null_frequency = NullFrequency::every_layer,
      .without_donor = "a check stops the engine at run time",
      .caveats =
          {"the engine has no override option: serve with the config.json of --write-config DIR",
           "context-parallel prefill with sharing is not supported",
           "a draft model has its own config.json; these keys belong in that of the main model"},
  }};
}

// _get_layer_indexer_type in pytorch/models/glm_moe_dsa.py.
Rows lmdeploy() {
  return {{
      .name = "lmdeploy",
      .read = "0.18.0",
      .hand_over = HandOver::hf_overrides,
      .sends = {indexer_types},
      .glm_only = true,
      .order = {indexer_types},
      .without_donor = "the first forward pass fails, and later ones read stale indices",
      .caveats = {"only the PyTorch backend shares (--backend pytorch)", kMtp},
  }};
}

// Commit ffdf3bb5.
Rows atom() {
  return {{
      .name = "atom",
      .read = "sources of August 2026; no package was available",
      .hand_over = HandOver::config_json,
      .sends = {pattern, indexer_types},
      .sends_flag = true,
      .order = {indexer_types, pattern, frequency},
      .needs_flag = true,
      .frequency_is_flag = true,
      .without_offset = FrequencyRule::a,
      .with_offset = FrequencyRule::d,
      .without_donor = kGarbage,
      .stage_start = StageStart::handed_over,
      .caveats = {kMtp},
  }};
}

}  // namespace

std::vector<EngineProfile> engine_table() {
  Rows table;
  for (const auto engine :
       {vllm, sglang, transformers, tensorrt_llm, vllm_ascend, xllm, lmdeploy, atom}) {
    for (EngineProfile& row : engine()) table.push_back(std::move(row));
  }
  return table;
}

}  // namespace indexcache
