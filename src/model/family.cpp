// SPDX-License-Identifier: Apache-2.0
#include "model/family.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

namespace indexcache {
namespace {

constexpr const char* kSupported =
    "DeepSeek-V3.2 (DeepseekV32ForCausalLM) and GLM-5 (GlmMoeDsaForCausalLM) are supported";

struct SupportedFamily {
  Family family;
  const char* title;
  const char* model_type;
  const char* architecture;
  const char* backbone;  // as AutoModel saves it
};

constexpr SupportedFamily kFamilies[] = {
    {Family::deepseek_v32, "DeepSeek-V3.2", "deepseek_v32", "DeepseekV32ForCausalLM",
     "DeepseekV32Model"},
    {Family::glm_moe_dsa, "GLM-5", "glm_moe_dsa", "GlmMoeDsaForCausalLM", "GlmMoeDsaModel"},
};

// Families people will try, and why they are not served.
const std::map<std::string, std::string>& other_families() {
  static const std::map<std::string, std::string> reasons = {
      {"deepseek_v4", "DeepSeek-V4 compresses keys before its indexer: a different architecture"},
      {"glm5_next",
       "GLM-5.3-Flash is a linear-attention hybrid with a pooled indexer: a different "
       "architecture"},
      {"deepseek_v3", "DeepSeek-V3 uses dense attention: it has no lightning indexer to share"},
      {"deepseek_v2", "DeepSeek-V2 uses dense attention: it has no lightning indexer to share"},
      {"glm4_moe", "GLM-4.x uses dense attention: it has no lightning indexer to share"},
      {"glm4_moe_lite", "GLM-4.x uses dense attention: it has no lightning indexer to share"},
  };
  return reasons;
}

// Dense relatives whose names a DSA model gets when people edit its config.json.
const SupportedFamily* sparse_relative(const std::string& name) {
  for (const char* dense : {"deepseek_v3", "deepseek_v2", "DeepseekV3", "DeepseekV2"}) {
    if (name.starts_with(dense) && !name.starts_with("DeepseekV32") && name != "deepseek_v32") {
      return &kFamilies[0];
    }
  }
  const bool glm = name.starts_with("glm4_moe") || name.starts_with("Glm4Moe");
  return glm ? &kFamilies[1] : nullptr;
}

struct Evidence {
  std::vector<std::string> architectures;
  std::string model_type;
  std::vector<std::string> indexer_keys;  // with values: "index_topk 2048"

  bool names_architecture() const { return !architectures.empty(); }

  std::string text() const {
    return fmt::format(
        "architectures is {}, model_type is {}, {}",
        names_architecture() ? fmt::format("{}", fmt::join(architectures, ", ")) : "missing",
        model_type.empty() ? "missing" : model_type,
        indexer_keys.empty() ? "there is no index_topk"
                             : fmt::format("{}", fmt::join(indexer_keys, ", ")));
  }
};

std::string shortened(const std::string& name) {
  return name.size() <= 60 ? name : name.substr(0, 57) + "...";
}

Evidence evidence_of(const ConfigReader& config) {
  Evidence seen;
  seen.model_type = shortened(config.text_or("model_type", ""));
  if (config.has("architectures")) {
    const Json& value = config.at("architectures");
    const Json list = value.is_string() ? Json::array({value}) : value;
    config.require(list.is_array(), "architectures", "expected a list of names");
    for (const Json& name : list) {
      config.require(name.is_string(), "architectures", "expected a list of names");
      if (seen.architectures.size() < 4) {
        seen.architectures.push_back(shortened(name.get<std::string>()));
      }
    }
  }
  for (const char* key : {"index_topk", "index_n_heads", "index_head_dim"}) {
    if (!config.has(key)) continue;
    seen.indexer_keys.push_back(fmt::format("{} {}", key, described(config.at(key))));
  }
  return seen;
}

const SupportedFamily* by_architecture(const Evidence& seen) {
  for (const std::string& name : seen.architectures) {
    for (const SupportedFamily& family : kFamilies) {
      if (name == family.architecture || name == family.backbone) return &family;
    }
  }
  return nullptr;
}

const SupportedFamily* by_type(const Evidence& seen) {
  const auto found = std::ranges::find(kFamilies, seen.model_type, &SupportedFamily::model_type);
  return found == std::end(kFamilies) ? nullptr : found;
}

std::string settings_of(const SupportedFamily& family) {
  return fmt::format(R"("architectures": ["{}"] and "model_type": "{}")", family.architecture,
                     family.model_type);
}

[[noreturn]] void refuse(const ConfigReader& config, const Evidence& seen) {
  const std::string& named =
      seen.names_architecture() ? seen.architectures.front() : seen.model_type;
  const SupportedFamily* sparse = sparse_relative(named);
  if (sparse == nullptr) sparse = sparse_relative(seen.model_type);
  if (sparse != nullptr && !seen.indexer_keys.empty()) {
    throw InputError(
        {"config.json contradicts itself about the model family", config.where(),
         fmt::format("{} uses dense attention, but the config has the keys of a lightning "
                     "indexer: {}",
                     named, seen.text()),
         fmt::format("if this is {}, set {} in config.json", sparse->title, settings_of(*sparse))});
  }
  if (named.empty() && !seen.indexer_keys.empty()) {
    throw InputError({"config.json does not say which model family this is", config.where(),
                      seen.text(),
                      fmt::format("set {} (DeepSeek-V3.2), or {} (GLM-5)",
                                  settings_of(kFamilies[0]), settings_of(kFamilies[1]))});
  }
  const auto known = other_families().find(seen.model_type);
  const std::string reason =
      known != other_families().end() ? known->second
      : !seen.indexer_keys.empty()
          ? "it has an indexer, but its forward pass is not one that this tool implements"
          : "its config has no index_topk: it has no lightning indexer to share";
  throw InputError(
      {fmt::format("the model family {} is not supported", named.empty() ? "(none given)" : named),
       config.where() + ": architectures", fmt::format("{} ({})", reason, seen.text()),
       kSupported});
}

}  // namespace

FamilyReading read_family(const ConfigReader& config) {
  const Evidence seen = evidence_of(config);
  const SupportedFamily* named = by_architecture(seen);
  const SupportedFamily* typed = by_type(seen);
  if (named != nullptr && typed != nullptr && named != typed) {
    throw InputError({"config.json contradicts itself about the model family", config.where(),
                      seen.text(),
                      fmt::format("set {} or {}", settings_of(*named), settings_of(*typed))});
  }
  if (named == nullptr && (seen.names_architecture() || typed == nullptr)) refuse(config, seen);
  const SupportedFamily& family = named != nullptr ? *named : *typed;
  FamilyReading reading{family.family, family.architecture, ""};
  if (typed == nullptr && !seen.model_type.empty()) {
    reading.remark = fmt::format(
        "config.json is read as {} because of architectures, but "
        "model_type is {}",
        family.title, seen.model_type);
  }
  return reading;
}

std::string architecture_of(const Json& config) {
  try {
    return read_family(ConfigReader(config, "config.json")).architecture;
  } catch (const InputError&) {
    const Json names = config.value("architectures", Json::array());
    const bool named = names.is_array() && !names.empty() && names[0].is_string();
    return named ? names[0].get<std::string>() : "";
  }
}

}  // namespace indexcache
