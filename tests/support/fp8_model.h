// SPDX-License-Identifier: Apache-2.0
// A small DeepSeek-V3.2 that is stored in FP8 with blocks of 128 x 128, as released ones are.
#pragma once

#include "core/narrow.h"
#include "io/json.h"
#include "model/dequantize.h"
#include "model/families/families.h"
#include "model/tensor_registry.h"
#include "support/files.h"
#include "support/random.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace indexcache::test {

struct Fp8ModelOptions {
  std::int64_t moe_intermediate = 128;
  std::int64_t index_topk = 16;
  std::string scale_type = "F32";  // or BF16, F8_E8M0: scales are powers of two then
  bool fp8 = true;                 // else BF16
};

// Four layers, of which the first is dense. No width is less than a block but those of the rotated
// parts, and kv_a has a partial one.
inline Json fp8_config(const Fp8ModelOptions& options) {
  Json config = Json::parse(R"({
    "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32",
    "vocab_size": 320, "hidden_size": 256, "num_hidden_layers": 4, "num_nextn_predict_layers": 0,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 128, "kv_lora_rank": 128,
    "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 64,
    "index_n_heads": 4, "index_head_dim": 64,
    "intermediate_size": 384, "n_routed_experts": 8, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
    "moe_layer_freq": 1, "norm_topk_prob": true, "routed_scaling_factor": 1.5,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "hidden_act": "silu",
    "attention_bias": false, "tie_word_embeddings": false, "rms_norm_eps": 1e-6,
    "rope_theta": 10000, "max_position_embeddings": 4096})");
  config["moe_intermediate_size"] = options.moe_intermediate;
  config["index_topk"] = options.index_topk;
  if (options.fp8) {
    config["quantization_config"] = {
        {"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {128, 128}}};
  }
  return config;
}

inline StoredTensor bf16_tensor(const TensorSpec& spec, const std::vector<float>& values) {
  std::vector<std::uint16_t> bits;
  for (const float value : values) bits.push_back(float_to_bf16(value));
  return {spec.name, "BF16", spec.shape,
          std::string(reinterpret_cast<const char*>(bits.data()), 2 * bits.size())};
}

// The matrix and its scales.
inline std::vector<StoredTensor> fp8_tensors(const TensorSpec& spec,
                                             const std::vector<float>& values,
                                             const std::string& scale_type) {
  const std::int64_t rows = spec.shape[0], cols = spec.shape[1];
  const std::int64_t down = (rows + 127) / 128, across = (cols + 127) / 128;
  std::vector<float> scales(static_cast<std::size_t>(down * across), 0.0f);
  const auto scale_of = [&](std::int64_t i) -> float& {
    return scales[static_cast<std::size_t>(i / cols / 128 * across + i % cols / 128)];
  };
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    scale_of(i) = std::max(scale_of(i), std::abs(values[static_cast<std::size_t>(i)]) / 448.0f);
  }
  // Powers of two have the same value in all three types.
  if (scale_type != "F32") std::ranges::transform(scales, scales.begin(), power_of_two_above);
  std::string codes, stored;
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    codes += static_cast<char>(float_to_e4m3(values[static_cast<std::size_t>(i)] / scale_of(i)));
  }
  for (const float scale : scales) {
    const auto bits = std::bit_cast<std::uint32_t>(scale);
    if (scale_type == "F32") stored += bytes_of({scale});
    if (scale_type == "F8_E8M0") stored += static_cast<char>(bits >> 23);
    if (scale_type != "BF16") continue;
    stored += static_cast<char>(bits >> 16 & 0xff);
    stored += static_cast<char>(bits >> 24);
  }
  return {{spec.name, "F8_E4M3", spec.shape, codes},
          {scale_name(kDeepseekV32, spec.name), scale_type, {down, across}, stored}};
}

// Random weights of a size that keeps activations as they are; norms of 1. The same numbers before
// rounding for all options.
inline void write_fp8_model(const std::filesystem::path& folder,
                            const Fp8ModelOptions& options = {}) {
  write_text(folder / "config.json", fp8_config(options).dump());
  const ModelConfig config = read_config(folder);
  std::vector<StoredTensor> tensors;
  std::uint32_t seed = 100;
  for (const TensorSpec& spec :
       read_tensors(config, Checkpoint(folder, {}), std::vector<bool>(4, true))) {
    std::int64_t count = 1;
    for (const std::int64_t extent : spec.shape) count *= extent;
    auto values = random_floats(static_cast<std::size_t>(count), ++seed);
    const float size = std::sqrt(3.0f / static_cast<float>(spec.shape.back()));
    for (float& value : values) value *= size;
    if (spec.shape.size() == 1) {
      std::ranges::fill(values, spec.name.ends_with("bias") ? 0.0f : 1.0f);
    }
    if (options.fp8 && spec.quantized) {
      for (StoredTensor& tensor : fp8_tensors(spec, values, options.scale_type)) {
        tensors.push_back(std::move(tensor));
      }
    } else {
      tensors.push_back(bf16_tensor(spec, values));
    }
  }
  write_safetensors(folder / "model.safetensors", tensors);
}

// An FP8 model in a folder of its own.
struct Fp8Model {
  explicit Fp8Model(const Fp8ModelOptions& options = {}) {
    write_fp8_model(folder.path(), options);
  }
  TempFolder folder;
};

}  // namespace indexcache::test
