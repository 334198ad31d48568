// SPDX-License-Identifier: Apache-2.0
// What a checkpoint will hold, from its config.json.
#include "core/error.h"
#include "io/files.h"
#include "io/hub_cache.h"
#include "io/json.h"
#include "io/weight_files.h"
#include "model/dequantize.h"
#include "model/model.h"
#include "model/tensor_registry.h"
#include "model/weight_format.h"

namespace indexcache {
namespace {

RawTensor tensor_of(DType dtype, const std::vector<std::int64_t>& shape) {
  RawTensor tensor{.dtype = dtype, .shape = shape};
  tensor.bytes = tensor.elements() * static_cast<std::int64_t>(size_of(dtype));
  return tensor;
}

std::map<std::string, RawTensor> expected_tensors(const ModelConfig& config, bool fp8,
                                                  const std::filesystem::path& folder) {
  std::map<std::string, RawTensor> tensors;
  for (const TensorSpec& spec : read_tensors(config, Checkpoint(folder, {}), config.native_full)) {
    const std::string scales = scale_name(*config.family, spec.name);
    if (spec.table) tensors.emplace(spec.name, tensor_of(DType::i64, spec.shape));
    if (spec.packed) {
      tensors.emplace(spec.name, tensor_of(DType::i8, {spec.shape[0], spec.shape[1] / 2}));
      tensors.emplace(scales,
                      tensor_of(DType::f8_e8m0, {spec.shape[0], (spec.shape[1] + 31) / 32}));
    }
    if (spec.table || spec.packed) continue;
    const bool quantized = fp8 && spec.quantized;
    tensors.emplace(spec.name, tensor_of(quantized ? DType::f8_e4m3 : DType::bf16, spec.shape));
    if (!quantized) continue;
    const std::int64_t down = (spec.shape[0] + config.fp8_block_rows - 1) / config.fp8_block_rows;
    const std::int64_t across = (spec.shape[1] + config.fp8_block_cols - 1) / config.fp8_block_cols;
    const DType type = config.family->short_scales ? DType::f8_e8m0 : DType::f32;
    tensors.emplace(scales, tensor_of(type, {down, across}));
  }
  return tensors;
}

}  // namespace

bool is_config_alone(const std::filesystem::path& given) {
  const std::filesystem::path folder = model_folder(given);
  return std::filesystem::exists(folder / "config.json") && !find_weight_files(folder).readable();
}

Model expect_model(const std::filesystem::path& given, std::optional<double> mla_norm_eps) {
  const std::filesystem::path folder = model_folder(given);
  ModelConfig config = read_config(folder, mla_norm_eps);
  if (!config.unread_format.empty()) {
    throw UnreadFormat(config.unread_format, (folder / "config.json").string());
  }
  if (!config.sharing_problem.empty()) {
    throw InputError({"config.json does not say which layers own an indexer",
                      (folder / "config.json").string(), config.sharing_problem,
                      "the checkpoint's weights, or a config.json without sharing keys"});
  }
  const Json json = parse_foreign_json(read_file(folder / "config.json"), "config.json");
  const bool fp8 = json.contains("quantization_config") && json["quantization_config"].is_object();
  auto tensors = expected_tensors(config, fp8, folder);
  std::vector<bool> has_indexer = config.native_full;
  const bool has_tokenizer = std::filesystem::exists(folder / "tokenizer.json");
  return {.config = std::move(config),
          .checkpoint = Checkpoint(folder, std::move(tensors)),
          .has_indexer = std::move(has_indexer),
          .name = model_name(folder),
          .revision = model_revision(folder),
          .config_sha256 = {},
          .tokenizer_sha256 = has_tokenizer ? sha256(read_file(folder / "tokenizer.json")) : "",
          .has_fp8 = fp8};
}

}  // namespace indexcache
