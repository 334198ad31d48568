// SPDX-License-Identifier: Apache-2.0
// Which files of a model folder hold its weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace indexcache {

inline constexpr const char* kShardIndexName = "model.safetensors.index.json";

struct WeightFiles {
  bool has_index = false;           // then it decides, and `shards` is empty
  std::vector<std::string> shards;  // safetensors files to read, by name
  // Weights that are there in another form, and what to do about it; empty if there are none.
  std::string others;
  std::string remedy;

  bool readable() const { return has_index || !shards.empty(); }
};

// Whether a file has this name because it holds weights, or an index of such files, in any form.
bool is_weight_file(const std::string& name);

// The index, else model.safetensors, else model*.safetensors, else consolidated*.safetensors.
// Links count even if their targets are missing. Throws InputError if numbered shards are missing.
WeightFiles find_weight_files(const std::filesystem::path& folder);

}  // namespace indexcache
