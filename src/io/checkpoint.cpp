// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint.h"

#include "core/error.h"
#include "io/files.h"
#include "io/json.h"

#include <fmt/format.h>

#include <set>

namespace indexcache {
namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kRemedy = "download the checkpoint again, or check the path";

// An index is untrusted input: a shard must be a plain file name inside the folder.
void check_plain_name(const std::string& file, const std::string& where) {
  if (!file.empty() && file.front() != '.' && file.find('/') == std::string::npos &&
      file.find('\\') == std::string::npos && file.find('\0') == std::string::npos) {
    return;
  }
  throw InputError({"the index names a shard outside the checkpoint folder", where,
                    fmt::format("\"{}\" is not a plain file name", file), kRemedy});
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& folder) : folder_(folder) {
  if (!std::filesystem::is_directory(folder)) {
    throw InputError({"the model folder does not exist", folder.string(),
                      "a Hugging Face folder with config.json and safetensors files is needed",
                      "check the path"});
  }
  if (std::filesystem::exists(folder / kIndexName)) {
    open_indexed(folder / kIndexName);
  } else if (std::filesystem::exists(folder / kSingleName)) {
    open_shard(kSingleName);
  } else {
    throw InputError({"no weights in the model folder", folder.string(),
                      fmt::format("neither {} nor {} is there", kSingleName, kIndexName), kRemedy});
  }
}

Checkpoint::Checkpoint(const std::filesystem::path& folder,
                       std::map<std::string, RawTensor> expected)
    : folder_(folder), expected_(std::move(expected)) {
  for (const auto& [name, tensor] : expected_) tensors_.emplace(name, Entry{nullptr, &tensor});
}

void Checkpoint::open_shard(const std::string& file) {
  shards_.push_back(std::make_unique<SafetensorsFile>(folder_ / file));
  const SafetensorsFile& shard = *shards_.back();
  for (const auto& [name, tensor] : shard.tensors()) {
    const auto [entry, inserted] = tensors_.emplace(name, Entry{&shard, &tensor});
    if (inserted) continue;
    throw InputError({"a tensor stands in two shards", shard.path().string() + ": " + name,
                      "also in " + entry->second.file->path().string(), kRemedy});
  }
}

std::map<std::string, std::string> parse_shard_index(std::string_view text,
                                                     const std::string& where) {
  const LargeJson json = parse_strict_large_json(text, where, kRemedy);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object()) {
    throw InputError({"the shard index has no weight_map", where, "", kRemedy});
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map->items()) {
    const std::string place = where + ": " + name;
    if (!file.is_string()) {
      throw InputError({"the shard index is malformed", place, "not a file name", kRemedy});
    }
    check_plain_name(file.get<std::string>(), place);
    files.emplace(name, file.get<std::string>());
  }
  return files;
}

void Checkpoint::open_indexed(const std::filesystem::path& index) {
  const auto map = parse_shard_index(read_file(index), index.string());
  std::set<std::string> files;
  for (const auto& [name, file] : map) files.insert(file);
  for (const std::string& file : files) {
    if (!std::filesystem::exists(folder_ / file)) {
      throw InputError({"a shard is missing", (folder_ / file).string(),
                        fmt::format("{} names it", index.filename().string()), kRemedy});
    }
    open_shard(file);
  }
  for (const auto& [name, file] : map) {
    const auto found = tensors_.find(name);
    if (found != tensors_.end() && found->second.file->path().filename() == file) continue;
    throw InputError({"a shard lacks a tensor that the index places in it",
                      (folder_ / file).string() + ": " + name, "", kRemedy});
  }
}

const Checkpoint::Entry& Checkpoint::entry(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  throw InputError({"a tensor is missing from the checkpoint", folder_.string() + ": " + name,
                    "config.json implies it", kRemedy});
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
    total += entry.tensor->bytes;
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
