// SPDX-License-Identifier: Apache-2.0
// A checked checkpoint: config, headers and indexer ownership, before any weight is read.
#pragma once

#include "core/pattern.h"
#include "io/checkpoint.h"
#include "model/config.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

struct Model {
  ModelConfig config;
  Checkpoint checkpoint;
  std::vector<bool> has_indexer;  // [letters()] from the tensors that exist
  std::string name;               // of the folder, or ORG/NAME in a Hugging Face cache
  std::string revision;           // in such a cache; else empty
  std::string config_sha256;
  std::string tokenizer_sha256;                  // empty where there is no tokenizer.json
  bool has_fp8 = false;                          // some weight is stored as F8_E4M3
  std::vector<std::string> unread_tensors = {};  // of the layers, that the forward pass leaves out

  // Every indexer that exists runs: the "all-Full" of this checkpoint.
  Pattern baseline() const { return Pattern::from_full_layers(has_indexer); }

  // What is ignored although it might matter: sharing keys, other keys of config.json, tensors.
  std::vector<std::string> warnings() const;
};

// Whether a folder holds a config.json and no weights, as one does before they are downloaded.
bool is_config_alone(const std::filesystem::path& folder);

// Throws InputError for anything that would stop the forward pass later, from headers only;
// UnreadFormat (model/weight_format.h) if only the format of the weights would.
Model open_model(const std::filesystem::path& folder,
                 std::optional<double> mla_norm_eps = std::nullopt);

// A model whose weights are not there, with the tensors that config.json implies: BF16, and where
// it states block-wise FP8 the projections in F8_E4M3. Good only for sizes.
Model expect_model(const std::filesystem::path& folder,
                   std::optional<double> mla_norm_eps = std::nullopt);

}  // namespace indexcache
