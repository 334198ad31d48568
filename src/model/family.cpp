// SPDX-License-Identifier: Apache-2.0
#include "model/family.h"

#include "core/error.h"
#include "core/list_text.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <vector>

namespace indexcache {
namespace {

// Families people will try, and why they are not served.
const std::map<std::string, std::string>& other_families() {
  static const std::map<std::string, std::string> reasons = {
      {"mistral_large4",
       "Mistral Large 4 reads keys of other layers and scales queries by position: a different "
       "architecture"},
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

// "DeepSeek-V3.2 (DeepseekV32ForCausalLM) and GLM-5 (GlmMoeDsaForCausalLM)"
std::string supported() {
  std::vector<std::string> names;
  for (const Family* family : families()) {
    names.push_back(fmt::format("{} ({})", family->title, family->architecture));
  }
  return list_text(names);
}

std::string stem_of(const Family& family) {
  constexpr std::string_view kEnd = "ForCausalLM";
  const std::string name = family.architecture;
  return name.ends_with(kEnd) ? name.substr(0, name.size() - kEnd.size()) : name;
}

// Also of what is built on it: "DeepseekV32ForTokenClassification".
bool is_name_of(const Family& family, const std::string& name) {
  return name.starts_with(family.model_type) || name.starts_with(stem_of(family));
}

// The family that has `name` as a dense relative: the name that a DSA model gets when people edit
// its config.json.
const Family* sparse_relative(const std::string& name) {
  for (const Family* family : families()) {
    if (is_name_of(*family, name)) return nullptr;
  }
  for (const Family* family : families()) {
    for (const char* dense : family->dense_relatives) {
      if (dense != nullptr && name.starts_with(dense)) return family;
    }
  }
  return nullptr;
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

const Family* by_architecture(const Evidence& seen) {
  for (const std::string& name : seen.architectures) {
    for (const Family* family : families()) {
      if (name == family->architecture || name == family->backbone) return family;
    }
  }
  return nullptr;
}

const Family* by_type(const Evidence& seen) {
  for (const Family* family : families()) {
    if (seen.model_type == family->model_type) return family;
  }
  return nullptr;
}

std::string settings_of(const Family& family) {
  return fmt::format(R"("architectures": ["{}"] and "model_type": "{}")", family.architecture,
                     family.model_type);
}

// One line for every family: settings, and whose they are.
std::string all_settings() {
  std::vector<std::string> settings;
  for (const Family* family : families()) {
    settings.push_back(fmt::format("{} ({})", settings_of(*family), family->title));
  }
  return fmt::format("{}", fmt::join(settings, ", or "));
}

// Tensors of indexers in the first layer that has some, by the last part of their names.
std::string indexer_tensors_text(const std::vector<std::string>& names) {
  constexpr std::string_view kIndexer = ".indexer.";
  std::string layer;
  std::vector<std::string> parts;
  for (const std::string& name : names) {
    const std::size_t at = name.find(kIndexer);
    if (at == name.npos) continue;
    if (layer.empty()) layer = name.substr(0, at + kIndexer.size());
    if (name.starts_with(layer) && parts.size() < 12) {
      parts.push_back(shortened(name.substr(layer.size())));
    }
  }
  if (parts.empty()) return "";
  return fmt::format("{}{{{}}}", layer, fmt::join(parts, ", "));
}

// Whether an indexer consists of the tensors that DeepSeek-V3.2's has.
bool is_known_indexer(const std::string& tensors) {
  const auto has = [&](const char* part) { return tensors.find(part) != tensors.npos; };
  return has("wq_b") && has("wk") && has("k_norm") && has("weights_proj");
}

[[noreturn]] void refuse_contradiction(const ConfigReader& config, const Evidence& seen,
                                       const std::string& why, const std::string& remedy) {
  throw InputError({"config.json contradicts itself about the model family", config.where(),
                    why.empty() ? seen.text() : why + ": " + seen.text(), remedy});
}

[[noreturn]] void refuse(const ConfigReader& config, const Evidence& seen,
                         const TensorNames& tensors) {
  const std::string& named =
      seen.names_architecture() ? seen.architectures.front() : seen.model_type;
  const Family* sparse = sparse_relative(named);
  if (sparse == nullptr) sparse = sparse_relative(seen.model_type);
  if (sparse != nullptr && !seen.indexer_keys.empty()) {
    refuse_contradiction(
        config, seen,
        named + " uses dense attention, but the config has the keys of a lightning indexer",
        fmt::format("if this is {}, set {} in config.json", sparse->title, settings_of(*sparse)));
  }
  if (named.empty() && !seen.indexer_keys.empty()) {
    throw InputError({"config.json does not say which model family this is", config.where(),
                      seen.text(), "set " + all_settings()});
  }
  const std::string indexer = tensors ? indexer_tensors_text(tensors()) : "";
  const bool has_indexer = !seen.indexer_keys.empty() || !indexer.empty();
  const auto known = other_families().find(seen.model_type);
  const std::string reason =
      known != other_families().end() ? known->second
      : has_indexer ? "it has an indexer, but its forward pass is not one that this tool implements"
                    : "its config has no index_topk: it has no lightning indexer to share";
  std::string text = seen.text();
  if (!indexer.empty()) text += ", the checkpoint has " + indexer;
  std::string hint = supported() + " are supported";
  if (has_indexer && known == other_families().end()) {
    hint += is_known_indexer(indexer)
                ? "; its indexer has the tensors of DeepSeek-V3.2: docs/models.md (Add a family) "
                  "shows the one file that a family of this kind takes"
                : "; docs/models.md (Add a family) says what another one takes";
  }
  throw InputError(
      {fmt::format("the model family {} is not supported", named.empty() ? "(none given)" : named),
       config.where() + ": architectures", fmt::format("{} ({})", reason, text), hint});
}

}  // namespace

FamilyReading read_family(const ConfigReader& config, const TensorNames& tensors) {
  const Evidence seen = evidence_of(config);
  const Family* named = by_architecture(seen);
  const Family* typed = by_type(seen);
  if (named != nullptr && typed != nullptr && named != typed) {
    refuse_contradiction(config, seen, "",
                         fmt::format("set {} or {}", settings_of(*named), settings_of(*typed)));
  }
  if (named == nullptr && (seen.names_architecture() || typed == nullptr)) {
    refuse(config, seen, tensors);
  }
  const Family* family = named != nullptr ? named : typed;
  FamilyReading reading{family, ""};
  if (typed == nullptr && !seen.model_type.empty()) {
    reading.remark =
        fmt::format("config.json is read as {} because of architectures, but model_type is {}",
                    family->title, seen.model_type);
  }
  return reading;
}

std::string architecture_of(const Json& config) {
  try {
    return read_family(ConfigReader(config, "config.json")).family->architecture;
  } catch (const InputError&) {
    const Json names = config.value("architectures", Json::array());
    const bool named = names.is_array() && !names.empty() && names[0].is_string();
    return named ? names[0].get<std::string>() : "";
  }
}

}  // namespace indexcache
