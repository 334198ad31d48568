// SPDX-License-Identifier: Apache-2.0
// Which files a folder with replaced tensors consists of (indexer_folder.h), before any is written.
#pragma once

#include "io/checkpoint.h"
#include "io/safetensors_writer.h"

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace indexcache {

struct RewrittenShard {
  const SafetensorsFile* source;
  std::string name;                   // in the new folder
  std::vector<TensorSource> tensors;  // that stay, by offset
};

struct LinkedFile {
  std::filesystem::path source;  // the real file, absolute
  std::string name;              // in the new folder
};

struct FolderPlan {
  std::string new_shard;
  std::vector<RewrittenShard> rewritten;
  std::vector<LinkedFile> links;
  std::vector<LinkedFile> copies;
  std::string index;  // text of model.safetensors.index.json
};

// Throws InputError if a tensor that the index of `base` names cannot be read, if a file cannot be
// linked, or if config.json names weights that loaders would prefer to the index. Reads headers and
// JSON only.
FolderPlan plan_folder(const Checkpoint& base, const std::set<std::string>& replaced);

}  // namespace indexcache
