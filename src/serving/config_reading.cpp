// SPDX-License-Identifier: Apache-2.0
#include "serving/config_reading.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

constexpr const char* kPattern = "index_topk_pattern";
constexpr const char* kTypes = "indexer_types";
constexpr const char* kFreq = "index_topk_freq";
constexpr const char* kOffset = "index_skip_topk_offset";
constexpr const char* kFactor = "cli_factor";
constexpr const char* kFlag = "use_index_cache";
constexpr const char* kRatios = "compress_ratios";
constexpr std::int64_t kLargest = 999'999'999;

// Thrown inside this file: the engine stops.
struct Stops {
  std::string why;
};

const Json* find(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found == config.end() ? nullptr : &*found;
}

// null counts as absent, as with getattr(config, key, None).
const Json* find_set(const Json& config, const char* key) {
  const Json* value = find(config, key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

class SharingReader {
 public:
  SharingReader(const EngineProfile& profile, const Json& config, const Json& overrides,
                const std::string& where)
      : numbers_(lettered_layers(config, where)),
        profile_(rules_for(profile, model_code(config))),
        glm_(is_glm_config(config)),
        hy4_(model_code(config) == ModelCode::hy_v4),
        v4_(model_code(config) == ModelCode::deepseek_v4),
        config_(config) {
    check_types(config_, where);
    check_types(overrides, where);
    overrides_ = overrides;
  }

  ConfigReading read() {
    try {
      if (!profile_.unsupported.empty()) return nothing_shared(profile_.unsupported);
      if (profile_.glm_only && !glm_) return nothing_shared("it shares only in GLM-5 models");
      if (profile_.through_hf_class && glm_) derive_types();
      if (profile_.through_hf_class && hy4_) state_hy4_types();
      if (v4_ && find_set(config_, kRatios) == nullptr) {
        return nothing_shared("it counts layers by compress_ratios, which config.json lacks");
      }
      for (const auto& [key, value] : overrides_.items()) config_[key] = value;
      if (profile_.needs_flag && !enabled()) {
        return nothing_shared("use_index_cache is not true");
      }
      decide();
    } catch (const Stops& stop) {
      reading_.failure = stop.why;
      reading_.schedule.clear();
      return reading_;
    }
    if (reading_.schedule[0] == 'S') {
      reading_.failure = fmt::format("layer 0 is shared, with no earlier layer to reuse: {}",
                                     profile_.without_donor);
    }
    return reading_;
  }

 private:
  static void check_types(const Json& config, const std::string& where) {
    const auto need = [&](const char* key, bool holds, const char* what) {
      if (holds) return;
      throw InputError({"the sharing keys cannot be read", where + ": " + key,
                        fmt::format("expected {}, found {}", what, described(config[key])),
                        "docs/engines.md lists the keys"});
    };
    const auto texts = [](const Json& list) {
      return list.is_array() && std::ranges::all_of(list, &Json::is_string);
    };
    if (const Json* value = find_set(config, kPattern)) {
      need(kPattern, value->is_string() || texts(*value), "a string of F and S");
    }
    if (const Json* value = find_set(config, kTypes)) {
      need(kTypes, texts(*value), "a list of \"full\" and \"shared\"");
    }
    for (const char* key : {kFreq, kOffset, kFactor}) {
      if (const Json* value = find_set(config, key)) {
        need(key, value->is_number_integer() && *value >= -kLargest && *value <= kLargest,
             "an integer of at most nine digits");
      }
    }
  }

  ConfigReading nothing_shared(std::string_view why) {
    for (const char* key : {kTypes, kPattern, kFreq}) {
      for (const Json* keys : std::initializer_list<const Json*>{&config_, &overrides_}) {
        if (find_set(*keys, key) == nullptr) continue;
        const std::string remark = fmt::format("{} is ignored: {}", key, why);
        if (std::ranges::find(reading_.remarks, remark) == reading_.remarks.end()) {
          reading_.remarks.push_back(remark);
        }
      }
    }
    reading_.schedule = std::string(count(), 'F');
    reading_.decided_by = "no key";
    return reading_;
  }

  bool enabled() const {
    const Json* flag = find_set(config_, kFlag);
    if (flag != nullptr && flag->is_boolean() && flag->get<bool>()) return true;
    const Json* freq = find_set(config_, kFreq);
    return profile_.frequency_is_flag && freq != nullptr && *freq > 1;
  }

  // GlmMoeDsaConfig of transformers: a configuration without indexer_types gets one, from the
  // pattern or else from frequency and offset (rule B). A later override of the pattern does not
  // change it.
  void derive_types() {
    if (find_set(config_, kTypes) != nullptr) return;
    Json types = Json::array();
    if (const Json* pattern = find_set(config_, kPattern)) {
      if (pattern->is_array()) {
        types = *pattern;
      } else {
        for (const char letter : pattern->get<std::string>()) {
          if (letter != 'F' && letter != 'S') {
            throw Stops{
                fmt::format("transformers' configuration class does not accept \"{}\" in {}",
                            letter, kPattern)};
          }
          types.push_back(letter == 'F' ? "full" : "shared");
        }
      }
    } else {
      const auto number = [&](const char* key, std::int64_t fallback) {
        const Json* value = find(config_, key);
        if (value == nullptr) return fallback;
        if (value->is_null()) {
          throw Stops{fmt::format("transformers' configuration class fails on {}: null", key)};
        }
        return value->get<std::int64_t>();
      };
      const std::int64_t freq = std::max<std::int64_t>(number(kFreq, 1), 1);
      for (const char letter :
           frequency_schedule(FrequencyRule::b, count(), freq, number(kOffset, 2))) {
        types.push_back(letter == 'F' ? "full" : "shared");
      }
    }
    config_[kTypes] = types;
  }

  // HYV4Config does the same, but looks at no other key: every fourth layer from layer 1 on is
  // full.
  void state_hy4_types() {
    if (find_set(config_, kTypes) != nullptr) return;
    Json types = Json::array();
    for (const char letter : frequency_schedule(FrequencyRule::b, count(), 4, 2)) {
      types.push_back(letter == 'F' ? "full" : "shared");
    }
    config_[kTypes] = types;
  }

  void decide() {
    for (const ScheduleKey key : profile_.order) {
      if (key == ScheduleKey::indexer_types && find_set(config_, kTypes) != nullptr) {
        return by_types(config_[kTypes]);
      }
      if (key == ScheduleKey::cli_factor && by_factor()) return;
      if (key == ScheduleKey::pattern && has_pattern()) return by_pattern(config_[kPattern]);
      if (key == ScheduleKey::frequency) return by_frequency();
    }
    reading_.schedule = std::string(count(), 'F');
    reading_.decided_by = "no key";
    remark_on_others("no key");
  }

  // Letters of a schedule.
  std::size_t count() const { return numbers_.size(); }

  bool has_pattern() const {
    const Json* pattern = find_set(config_, kPattern);
    if (pattern == nullptr) return false;
    return !profile_.empty_pattern_is_unset || *pattern != Json("");
  }

  void by_types(const Json& types) {
    reading_.decided_by = kTypes;
    check_length(kTypes, types.size(), "entries");
    for (std::size_t layer = 0; layer < count(); ++layer) {
      const bool shared = layer < types.size() && types[layer] == "shared";
      reading_.schedule += shared ? 'S' : 'F';
      if (layer < types.size() && !shared && types[layer] != "full") {
        if (profile_.unknown_letters == Tolerance::fails) {
          throw Stops{fmt::format("{} has \"{}\" at layer {}", kTypes,
                                  types[layer].get<std::string>(), layer)};
        }
        remark("{} of layer {} is \"{}\", which counts as full", kTypes, layer,
               types[layer].get<std::string>());
      }
    }
    remark_length(kTypes, types.size());
    remark_on_others(kTypes);
  }

  bool by_factor() {
    const Json* factor = find_set(config_, kFactor);
    if (factor == nullptr || *factor == 1) return false;
    if (*factor < 1) throw Stops{fmt::format("{} must be positive", kFactor)};
    reading_.decided_by = kFactor;
    reading_.schedule =
        frequency_schedule(FrequencyRule::c, count(), factor->get<std::int64_t>(), 0);
    remark_on_others(kFactor);
    return true;
  }

  void by_pattern(const Json& pattern) {
    reading_.decided_by = kPattern;
    std::vector<std::string> letters;
    if (pattern.is_string()) {
      for (const char letter : pattern.get_ref<const std::string&>()) {
        letters.emplace_back(1, letter);
      }
    } else {
      letters = pattern.get<std::vector<std::string>>();
    }
    if (profile_.wants_full_first && (letters.empty() || letters.front() != "F")) {
      throw Stops{fmt::format("{} must begin with F", kPattern)};
    }
    check_length(kPattern, letters.size(), "characters");
    for (std::size_t layer = 0; layer < count(); ++layer) {
      reading_.schedule += layer < letters.size() ? letter_of(letters[layer], layer) : 'F';
    }
    remark_length(kPattern, letters.size());
    remark_on_others(kPattern);
  }

  char letter_of(const std::string& letter, std::size_t layer) {
    if (letter == "S" || (profile_.any_case && letter == "s")) return 'S';
    if (letter == "F" || (profile_.any_case && letter == "f")) return 'F';
    if (profile_.unknown_letters == Tolerance::fails) {
      throw Stops{fmt::format("{} has \"{}\" at layer {}", kPattern, letter, numbers_[layer])};
    }
    remark("{} has \"{}\" at layer {}, which counts as F", kPattern, letter, numbers_[layer]);
    return 'F';
  }

  void by_frequency() {
    const Json* freq = find(config_, kFreq);
    const Json* offset = find(config_, kOffset);
    const bool null_freq = freq != nullptr && freq->is_null();
    if (null_freq && profile_.null_frequency == NullFrequency::fails) {
      throw Stops{fmt::format("{} is null, but the engine expects a number", kFreq)};
    }
    if (offset != nullptr && offset->is_null() && profile_.without_offset == FrequencyRule::b) {
      throw Stops{fmt::format("{} is null, but the engine expects a number", kOffset)};
    }
    const std::int64_t every = freq == nullptr || null_freq ? 1 : freq->get<std::int64_t>();
    if (every < 1) throw Stops{fmt::format("{} is {}: it must be positive", kFreq, every)};
    reading_.decided_by = freq == nullptr || null_freq ? "no key" : kFreq;
    const bool has_offset =
        offset != nullptr && !offset->is_null() && !(profile_.zero_offset_is_unset && *offset == 0);
    const bool by_offset = profile_.with_offset != FrequencyRule::a;
    const std::int64_t shift = has_offset ? offset->get<std::int64_t>() : profile_.default_offset;
    if (has_offset && by_offset && shift < 1 && profile_.checks_offset) {
      throw Stops{fmt::format("{} is {}: it must be positive", kOffset, shift)};
    }
    if (has_offset && !by_offset && every > 1) remark("{} is ignored", kOffset);
    reading_.schedule = frequency_schedule(
        has_offset ? profile_.with_offset : profile_.without_offset, count(), every, shift);
    remark_on_others(reading_.decided_by);
  }

  void check_length(const char* key, std::size_t length, const char* unit) const {
    if ((length < count() && profile_.too_short == Tolerance::fails) ||
        (length > count() && profile_.too_long == Tolerance::fails)) {
      throw Stops{fmt::format("{} has {} {} for {} layers", key, length, unit, count())};
    }
  }

  void remark_length(const char* key, std::size_t length) {
    if (length < count()) {
      remark("{} has {} entries: layers {} to {} count as F", key, length, length, count() - 1);
    } else if (length > count()) {
      remark("the last {} entries of {} are ignored", length - count(), key);
    }
  }

  // Keys that would have given another schedule, had they been read.
  void remark_on_others(const std::string& decided) {
    const Json* types = find_set(config_, kTypes);
    if (decided != kTypes && types != nullptr) {
      std::string stated;
      for (std::size_t l = 0; l < count(); ++l) {
        stated += l < types->size() && (*types)[l] == "shared" ? 'S' : 'F';
      }
      if (stated != reading_.schedule) remark("{} disagrees and is ignored", kTypes);
    }
    const Json* pattern = find_set(config_, kPattern);
    if (decided != kPattern && has_pattern() && pattern->is_string() &&
        *pattern != reading_.schedule) {
      remark("{} disagrees and is ignored: {} decides", kPattern, decided);
    }
    const Json* freq = find_set(config_, kFreq);
    if (decided != kFreq && decided != kPattern && decided != kTypes && freq != nullptr &&
        *freq > 1) {
      remark("{} is ignored", kFreq);
    }
  }

  template <typename... Arguments>
  void remark(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    reading_.remarks.push_back(fmt::format(text, std::forward<Arguments>(arguments)...));
  }

  std::vector<std::size_t> numbers_;  // of the layers that letters stand for
  EngineProfile profile_;
  bool glm_;
  bool hy4_;
  bool v4_;
  Json config_;
  Json overrides_;
  ConfigReading reading_;
};

}  // namespace

std::size_t config_layers(const Json& config, const std::string& where) {
  const Json* layers = config.is_object() ? find_set(config, "num_hidden_layers") : nullptr;
  if (layers == nullptr || !layers->is_number_integer() || *layers < 1 || *layers > 4096) {
    throw InputError({"not a model configuration", where,
                      "num_hidden_layers, a number from 1 to 4096, is missing",
                      "the config.json of a DSA model"});
  }
  return layers->get<std::size_t>();
}

std::vector<std::size_t> lettered_layers(const Json& config, const std::string& where) {
  const std::size_t count = config_layers(config, where);
  const bool some = model_code(config) == ModelCode::deepseek_v4;
  const Json* ratios = some ? find_set(config, kRatios) : nullptr;
  const Json* kinds = ratios == nullptr && some ? find_set(config, "layer_types") : ratios;
  const Json selecting = ratios != nullptr ? Json(4) : Json("compressed_sparse_attention");
  if (some && (kinds == nullptr || !kinds->is_array() || kinds->size() < count)) {
    throw InputError(
        {"which layers have an indexer is not known", where,
         fmt::format("compress_ratios, a list of at least {} integers, is missing", count),
         "the config.json of the released model"});
  }
  std::vector<std::size_t> layers;
  for (std::size_t layer = 0; layer < count; ++layer) {
    if (!some || (*kinds)[layer] == selecting) layers.push_back(layer);
  }
  if (!layers.empty()) return layers;
  throw InputError({"the model has no indexer", where, "no layer has ratio 4", ""});
}

bool is_glm_config(const Json& config) {
  const Json* type = find_set(config, "model_type");
  if (type != nullptr) return *type == "glm_moe_dsa";
  const Json* architectures = find_set(config, "architectures");
  return architectures != nullptr && architectures->is_array() && !architectures->empty() &&
         (*architectures)[0] == kGlmArchitecture;
}

ConfigReading read_schedule(const EngineProfile& profile, const Json& config, const Json& overrides,
                            const std::string& where) {
  return SharingReader(profile, config, overrides, where).read();
}

}  // namespace indexcache
