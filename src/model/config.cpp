// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include "core/error.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "model/config_reader.h"
#include "model/unread_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

// Names of stored tensors; none if there are no weights, or none that can be read.
std::vector<std::string> names_if_readable(const std::filesystem::path& folder) {
  try {
    return stored_names(folder);
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

ModelShape ModelConfig::shape() const {
  return {.layers = layers,
          .vocabulary = vocabulary,
          .hidden = hidden,
          .streams = streams ? streams->count : 1,
          .heads = heads,
          .latent_width = latent_width(),
          .kv_lora_rank = value_width(),
          .index_heads = index_heads,
          .index_head_dim = index_head_dim,
          .index_topk = index_topk,
          .intermediate = intermediate,
          .moe_intermediate = moe_intermediate,
          .routed_experts = routed_experts,
          .experts_used = router.experts_used,
          .expert_groups = router.groups,
          .window = compressed ? compressed->window : 0,
          .indexer = indexer,
          .dense =
              dense ? std::optional<ExpandedShape>({qk_nope_head_dim, qk_rope_head_dim, v_head_dim})
                    : std::nullopt};
}

std::vector<std::size_t> ModelConfig::selecting_layers() const {
  std::vector<std::size_t> found;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    if (selects(layer)) found.push_back(static_cast<std::size_t>(layer));
  }
  return found;
}

std::size_t ModelConfig::letter_of(std::int64_t layer) const {
  if (!compressed) return static_cast<std::size_t>(layer);
  return static_cast<std::size_t>(std::count(compressed->ratios.begin(),
                                             compressed->ratios.begin() + layer,
                                             CompressedAttention::kSelectedRatio));
}

std::size_t ModelConfig::kind_of(std::int64_t layer) const {
  if (compressed) return selects(layer) ? 1 : 0;
  return moe_layer[static_cast<std::size_t>(layer)] ? 1 : 0;
}

float ModelConfig::softmax_scale() const {
  const double factor = yarn ? yarn_mscale(yarn->factor, yarn->mscale_all_dim) : 1.0;
  return static_cast<float>(factor * factor / std::sqrt(static_cast<double>(qk_head_dim())));
}

ModelConfig read_config(const std::filesystem::path& folder, std::optional<double> mla_norm_eps) {
  const std::filesystem::path path = folder / "config.json";
  if (!std::filesystem::exists(std::filesystem::symlink_status(path))) {
    throw InputError({"the model folder has no config.json", folder.string(),
                      "a Hugging Face folder with config.json and safetensors files is needed",
                      "check the path"});
  }
  return parse_config(parse_foreign_json(read_file(path), path.string()), path.string(),
                      mla_norm_eps, [&] { return names_if_readable(folder); });
}

ModelConfig parse_config(const Json& json, const std::string& where,
                         std::optional<double> mla_norm_eps, const TensorNames& tensors) {
  const ConfigReader r(json, where);
  if (!json.is_object()) r.fail("", "it is not a JSON object");
  ModelConfig config{};
  const FamilyReading reading = read_family(r, tensors);
  config.family = reading.family;
  if (!reading.remark.empty()) config.remarks.push_back(reading.remark);
  config.family->read(r, config);
  if (mla_norm_eps) config.mla_norm_eps = static_cast<float>(*mla_norm_eps);
  const std::vector<std::string> others = suspicious_keys(r.unread());
  config.unread_keys.insert(config.unread_keys.end(), others.begin(), others.end());
  return config;
}

ModelConfig with_first_layers(ModelConfig config, std::int64_t count) {
  const auto layers = static_cast<std::size_t>(count);
  config.layers = count;
  config.moe_layer.resize(layers);
  if (config.compressed) config.compressed->ratios.resize(layers);
  config.native_full.resize(config.letters());
  return config;
}

}  // namespace indexcache
