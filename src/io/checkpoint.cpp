// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint.h"

#include "core/error.h"
#include "io/files.h"
#include "io/json.h"
#include "io/weight_files.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

constexpr const char* kDownloadCheckpoint = "download the checkpoint again, or check the path";

// An index is untrusted input: a shard must be a plain file name inside the folder.
void check_plain_name(const std::string& file, const std::string& where) {
  if (!file.empty() && file.front() != '.' && file.find('/') == std::string::npos &&
      file.find('\\') == std::string::npos && file.find('\0') == std::string::npos) {
    return;
  }
  throw InputError({"the index names a shard outside the checkpoint folder", where,
                    fmt::format("\"{}\" is not a plain file name", file), kDownloadCheckpoint});
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& folder) : folder_(folder) {
  const WeightFiles files = find_weight_files(folder);
  if (!files.readable()) {
    throw InputError(
        {"no weights in the model folder", folder.string(),
         files.others.empty()
             ? fmt::format("it contains neither model*.safetensors nor {}", kShardIndexName)
             : files.others + "; only safetensors files are supported",
         files.others.empty() ? kDownloadCheckpoint : files.remedy});
  }
  if (files.has_index) open_indexed(folder / kShardIndexName);
  for (const std::string& file : files.shards) add_unindexed(open_shard(file));
}

Checkpoint::Checkpoint(const std::filesystem::path& folder,
                       std::map<std::string, RawTensor> expected)
    : folder_(folder), expected_(std::move(expected)) {
  for (const auto& [name, tensor] : expected_) tensors_.emplace(name, Entry{nullptr, &tensor});
}

const SafetensorsFile& Checkpoint::open_shard(const std::string& file) {
  shards_.push_back(std::make_unique<SafetensorsFile>(folder_ / file));
  return *shards_.back();
}

void Checkpoint::add_unindexed(const SafetensorsFile& shard) {
  for (const auto& [name, tensor] : shard.tensors()) {
    const auto [entry, inserted] = tensors_.emplace(name, Entry{&shard, &tensor});
    if (inserted) continue;
    throw InputError(
        {"a tensor is in two shards, and no index says which one counts",
         shard.path().string() + ": " + name, "also in " + entry->second.file->path().string(),
         fmt::format("remove the shards of other versions, or download {}", kShardIndexName)});
  }
}

std::map<std::string, std::string> parse_shard_index(std::string_view text,
                                                     const std::string& where) {
  const LargeJson json = parse_strict_large_json(text, where, kDownloadCheckpoint);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object()) {
    throw InputError({"the shard index has no weight_map", where, "", kDownloadCheckpoint});
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map->items()) {
    const std::string place = where + ": " + name;
    if (!file.is_string()) {
      throw InputError(
          {"the shard index is malformed", place, "not a file name", kDownloadCheckpoint});
    }
    check_plain_name(file.get<std::string>(), place);
    files.emplace(name, file.get<std::string>());
  }
  return files;
}

std::vector<std::string> stored_names(const std::filesystem::path& folder) {
  if (!find_weight_files(folder).has_index) return Checkpoint(folder).names();
  const std::filesystem::path index = folder / kShardIndexName;
  std::vector<std::string> names;
  for (const auto& [name, file] : parse_shard_index(read_file(index), index.string())) {
    names.push_back(name);
  }
  return names;
}

// By name, so that layout_sha256 depends on nothing else.
Checkpoint::Shards Checkpoint::open_named(const std::map<std::string, std::string>& files) {
  Shards shards;
  for (const auto& [name, file] : files) shards.emplace(file, Entry{nullptr, nullptr});
  for (auto& [file, shard] : shards) {
    try {
      if (!std::filesystem::exists(std::filesystem::symlink_status(folder_ / file))) {
        throw InputError({"a shard is missing", (folder_ / file).string(),
                          fmt::format("{} lists it", kShardIndexName), kDownloadCheckpoint});
      }
      shard.file = &open_shard(file);
    } catch (const InputError&) {
      shard.failure = std::current_exception();
      if (!first_failure_) first_failure_ = shard.failure;
    }
  }
  return shards;
}

void Checkpoint::open_indexed(const std::filesystem::path& index) {
  const auto files = parse_shard_index(read_file(index), index.string());
  const Shards shards = open_named(files);
  for (const auto& [name, file] : files) {
    Entry entry = shards.at(file);
    if (!entry.failure) {
      const auto found = entry.file->tensors().find(name);
      if (found != entry.file->tensors().end()) {
        entry.tensor = &found->second;
      } else {
        entry.failure = std::make_exception_ptr(
            InputError({"a shard lacks a tensor that the index places in it",
                        (folder_ / file).string() + ": " + name, "", kDownloadCheckpoint}));
      }
    }
    tensors_.emplace(name, entry);
  }
  for (const auto& shard : shards_) {
    for (const auto& [name, tensor] : shard->tensors()) {
      if (!files.contains(name)) tensors_.emplace(name, Entry{shard.get(), &tensor});
    }
  }
}

const Checkpoint::Entry& Checkpoint::entry(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end() && !found->second.failure) return found->second;
  if (found != tensors_.end()) std::rethrow_exception(found->second.failure);
  if (first_failure_) std::rethrow_exception(first_failure_);
  throw InputError({"a tensor is missing from the checkpoint", folder_.string() + ": " + name,
                    "config.json implies it", kDownloadCheckpoint});
}

const RawTensor* Checkpoint::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.tensor;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, entry] : tensors_) names.push_back(name);
  return names;
}

const RawTensor& Checkpoint::tensor(const std::string& name) const {
  return *entry(name).tensor;
}

void Checkpoint::read(const std::string& name, std::int64_t first, std::span<std::byte> out) const {
  const Entry& found = entry(name);
  found.file->read(*found.tensor, first, out);
}

std::vector<std::byte> Checkpoint::read(const std::string& name) const {
  const Entry& found = entry(name);
  return found.file->read(*found.tensor);
}

void Checkpoint::forget(const std::string& name) const {
  const Entry& found = entry(name);
  found.file->forget(*found.tensor);
}

std::string Checkpoint::where(const std::string& name) const {
  const auto found = tensors_.find(name);
  const bool in_file = found != tensors_.end() && found->second.file != nullptr;
  const auto& path = in_file ? found->second.file->path() : folder_;
  return path.string() + ": " + name;
}

std::int64_t Checkpoint::total_bytes() const {
  std::int64_t total = 0;
  for (const auto& [name, entry] : tensors_) {
    if (entry.tensor != nullptr) total += entry.tensor->bytes;
  }
  return total;
}

std::string Checkpoint::layout_sha256() const {
  std::string text;
  for (const auto& shard : shards_) {
    text += fmt::format("{} {} {}\n", shard->path().filename().string(), shard->file_bytes(),
                        shard->header_sha256());
  }
  return sha256(text);
}

}  // namespace indexcache
