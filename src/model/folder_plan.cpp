// SPDX-License-Identifier: Apache-2.0
#include "model/folder_plan.h"

#include "core/error.h"
#include "io/files.h"
#include "io/json.h"
#include "io/system_failure.h"
#include "io/weight_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <utility>

namespace indexcache {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kConfig = "config.json";

using ShardMap = std::map<std::string, std::string>;  // by tensor

std::string name_of(const SafetensorsFile& shard) {
  return shard.path().filename().string();
}

// Which shard a tensor is in: what the index says, or else the headers.
ShardMap shard_map(const Checkpoint& base) {
  const fs::path index = base.folder() / kShardIndexName;
  if (find_weight_files(base.folder()).has_index) {
    ShardMap shards = parse_shard_index(read_file(index), index.string());
    for (const auto& [name, file] : shards) base.tensor(name);  // throws if it cannot be read
    return shards;
  }
  ShardMap shards;
  for (const auto& shard : base.shards()) {
    for (const auto& [name, tensor] : shard->tensors()) shards.emplace(name, name_of(*shard));
  }
  return shards;
}

// transformers takes model.safetensors before the index, and vLLM consolidated*.safetensors.
bool is_preferred_to_index(const std::string& name) {
  return name == kSingleFile || name.starts_with("consolidated");
}

// Names of the files of the new folder. None is one of the base folder unless it has the same
// content, or less of it.
class Names {
 public:
  explicit Names(const Checkpoint& base) {
    for (const fs::directory_entry& entry : fs::directory_iterator(base.folder())) {
      taken_.insert(entry.path().filename().string());
    }
    const auto& shards = base.shards();
    single_ = shards.size() == 1 && name_of(*shards.front()) == kSingleFile;
  }

  std::string of_new_shard() { return free(single_ ? "model-00002-of-00002" : "model-indexers"); }
  std::string of_shard(const std::string& name) {
    if (!is_preferred_to_index(name)) return name;
    return free(single_ ? "model-00001-of-00002" : "model-" + fs::path(name).stem().string());
  }

 private:
  std::string free(const std::string& stem) {
    std::string name = stem + ".safetensors";
    for (int i = 2; !taken_.insert(name).second; ++i) {
      name = fmt::format("{}-{}.safetensors", stem, i);
    }
    return name;
  }

  std::set<std::string> taken_;
  bool single_ = false;
};

std::vector<TensorSource> tensors_that_stay(const SafetensorsFile& shard,
                                            const std::set<std::string>& replaced) {
  std::vector<std::pair<std::string, const RawTensor*>> tensors;
  for (const auto& [name, tensor] : shard.tensors()) {
    if (!replaced.contains(name)) tensors.emplace_back(name, &tensor);
  }
  std::ranges::stable_sort(tensors, {}, [](const auto& t) { return t.second->offset; });
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : tensors) {
    sources.push_back({name, std::string(tensor->type()), tensor->shape, tensor->bytes,
                       [&shard, tensor = tensor](std::int64_t first, std::span<std::byte> out) {
                         shard.read(*tensor, first, out);
                       }});
  }
  return sources;
}

fs::path real_file(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  if (error) fail_opening(path, error.value(), "check the path and its permissions");
  return real;
}

// Files next to the weights that belong into the new folder.
void add_other_files(const fs::path& folder, FolderPlan& plan) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    // Not a link without a target: a download that is incomplete lacks nothing that was read.
    std::error_code error;
    if (name.front() == '.' || !entry.is_regular_file(error) || is_weight_file(name)) continue;
    names.push_back(name);
  }
  std::ranges::sort(names);
  for (const std::string& name : names) {
    (name == kConfig ? plan.copies : plan.links).push_back({real_file(folder / name), name});
  }
}

void check_config(const fs::path& folder) {
  const fs::path path = folder / kConfig;
  if (!fs::exists(path)) return;
  const Json config = parse_foreign_json(read_file(path), path.string());
  constexpr const char* kKey = "transformers_weights";
  if (!config.is_object() || !config.contains(kKey) || !config[kKey].is_string() ||
      config[kKey] == kShardIndexName) {
    return;
  }
  throw InputError({"indexers cannot be replaced in this checkpoint", path.string() + ": " + kKey,
                    fmt::format("transformers would load {} instead of the index with the new "
                                "indexers",
                                described(config[kKey])),
                    "use a copy of the folder whose config.json lacks this key"});
}

// The keys of the base's metadata are kept.
std::string index_text(const Checkpoint& base, const ShardMap& shards) {
  LargeJson index = LargeJson::object();
  const fs::path path = base.folder() / kShardIndexName;
  if (find_weight_files(base.folder()).has_index) {
    const LargeJson old = parse_strict_large_json(read_file(path), path.string(), "");
    if (old.contains("metadata") && old["metadata"].is_object()) {
      index["metadata"] = old["metadata"];
    }
  }
  std::int64_t total = 0;
  for (const auto& [name, file] : shards) total += base.tensor(name).bytes;
  index["metadata"]["total_size"] = total;
  index["weight_map"] = shards;
  return index.dump(2) + "\n";
}

}  // namespace

FolderPlan plan_folder(const Checkpoint& base, const std::set<std::string>& replaced) {
  check_config(base.folder());
  FolderPlan plan;
  ShardMap shards = shard_map(base);
  Names names(base);
  plan.new_shard = names.of_new_shard();
  std::map<std::string, std::string> renamed;
  for (const auto& shard : base.shards()) {
    const std::string old_name = name_of(*shard), name = names.of_shard(old_name);
    renamed.emplace(old_name, name);
    std::vector<TensorSource> kept = tensors_that_stay(*shard, replaced);
    if (kept.size() == shard->tensors().size()) {
      plan.links.push_back({real_file(shard->path()), name});
    } else if (!kept.empty()) {
      plan.rewritten.push_back({shard.get(), name, std::move(kept)});
    }
  }
  for (auto& [name, file] : shards) file = renamed.at(file);
  for (const std::string& name : replaced) shards[name] = plan.new_shard;
  plan.index = index_text(base, shards);
  add_other_files(base.folder(), plan);
  return plan;
}

}  // namespace indexcache
