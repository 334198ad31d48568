// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include "core/error.h"
#include "io/files.h"
#include "io/hub_cache.h"
#include "model/tensor_registry.h"
#include "model/unread_keys.h"
#include "model/unread_tensors.h"
#include "model/weight_format.h"

#include <fmt/format.h>

#include <utility>

namespace indexcache {

Model open_model(const std::filesystem::path& given, std::optional<double> mla_norm_eps) {
  const std::filesystem::path folder = model_folder(given);
  ModelConfig config = read_config(folder, mla_norm_eps);
  if (!config.unread_format.empty()) {
    throw UnreadFormat(config.unread_format,
                       (folder / "config.json").string() + ": quantization_config");
  }
  Model model{.config = std::move(config),
              .checkpoint = Checkpoint(folder),
              .has_indexer = {},
              .name = model_name(folder),
              .revision = model_revision(folder),
              .config_sha256 = sha256(read_file(folder / "config.json")),
              .tokenizer_sha256 = {}};
  if (std::filesystem::exists(folder / "tokenizer.json")) {
    model.tokenizer_sha256 = sha256(read_file(folder / "tokenizer.json"));
  }
  for (const auto& shard : model.checkpoint.shards()) {
    for (const auto& [name, tensor] : shard->tensors()) {
      model.has_fp8 = model.has_fp8 || tensor.dtype == DType::f8_e4m3;
    }
  }
  model.has_indexer = check_checkpoint(model.config, model.checkpoint);
  if (!model.has_indexer[0]) {
    const std::size_t first = model.config.selecting_layers().front();
    throw InputError({fmt::format("layer {} has no indexer", first), folder.string(),
                      "every later layer could only reuse an index set that no layer computes",
                      "check that the checkpoint is complete"});
  }
  model.unread_tensors = unread_tensors(model.config, model.checkpoint, model.has_indexer);
  if (!model.config.sharing_problem.empty()) model.config.native_full = model.has_indexer;
  return model;
}

std::vector<std::string> Model::warnings() const {
  std::vector<std::string> list = config.remarks;
  if (!config.sharing_problem.empty()) {
    list.push_back("the sharing keys of config.json are ignored: " + config.sharing_problem);
  }
  if (!config.unread_keys.empty()) {
    list.push_back("ignored keys of config.json that might change the forward pass: " +
                   listed(config.unread_keys));
  }
  if (!unread_tensors.empty()) {
    list.push_back(fmt::format("{} tensors of the checkpoint are ignored: {}",
                               unread_tensors.size(), listed(unread_tensors)));
  }
  return list;
}

}  // namespace indexcache
