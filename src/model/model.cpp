// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include "core/error.h"
#include "io/files.h"
#include "io/hub_cache.h"
#include "model/tensor_registry.h"

namespace indexcache {

Model open_model(const std::filesystem::path& given, std::optional<double> mla_norm_eps) {
  const std::filesystem::path folder = model_folder(given);
  Model model{.config = read_config(folder, mla_norm_eps),
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
    throw InputError({"layer 0 has no indexer", folder.string(),
                      "every later layer could only reuse an index set that nobody computes",
                      "check that the checkpoint is complete"});
  }
  if (!model.config.sharing_problem.empty()) model.config.native_full = model.has_indexer;
  return model;
}

}  // namespace indexcache
