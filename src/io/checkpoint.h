// SPDX-License-Identifier: Apache-2.0
// The tensors of a Hugging Face folder: model.safetensors, or shards with or without an index.
#pragma once

#include "io/safetensors.h"

#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// The files that an index (model.safetensors.index.json) names, by tensor. Throws InputError naming
// `where` for what is no index, and for names that lead out of the checkpoint's folder.
std::map<std::string, std::string> parse_shard_index(std::string_view text,
                                                     const std::string& where);

// Names of all tensors of a folder: from the index if there is one, without opening a shard. Throws
// InputError if neither it nor the shards can be read.
std::vector<std::string> stored_names(const std::filesystem::path& folder);

class Checkpoint {
 public:
  // Opens every shard and reads the headers; no tensor data is touched. If there is an index, it
  // decides which shard a tensor is in, and a shard that is missing or cannot be read is an error
  // only for those who ask for one of its tensors. Throws InputError when the folder has no
  // weights, or when the index or an unindexed shard cannot be read.
  explicit Checkpoint(const std::filesystem::path& folder);

  // A checkpoint that is not there: what it would hold, to plan with. Nothing can be read from it.
  Checkpoint(const std::filesystem::path& folder, std::map<std::string, RawTensor> expected);

  const std::filesystem::path& folder() const { return folder_; }
  // Whether the checkpoint has this tensor, even if its shard cannot be read.
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  // Of all tensors, sorted.
  std::vector<std::string> names() const;

  // Null if it is absent or its shard cannot be read.
  const RawTensor* find(const std::string& name) const;

  // Throws InputError naming the tensor when it is absent, or what is wrong with its shard.
  const RawTensor& tensor(const std::string& name) const;

  // Bytes of a tensor, as SafetensorsFile::read.
  void read(const std::string& name, std::int64_t first, std::span<std::byte> out) const;
  std::vector<std::byte> read(const std::string& name) const;
  void forget(const std::string& name) const;

  // "file: tensor", for messages.
  std::string where(const std::string& name) const;

  const std::vector<std::unique_ptr<SafetensorsFile>>& shards() const { return shards_; }
  std::size_t tensor_count() const { return tensors_.size(); }
  std::int64_t total_bytes() const;  // of the shards that can be read

  // SHA-256 over every shard's name, length and header: changes with any name, shape, dtype or
  // layout. It does not read the weights themselves.
  std::string layout_sha256() const;

 private:
  // A tensor, or why its shard cannot be read.
  struct Entry {
    const SafetensorsFile* file;  // null in a checkpoint that is not there
    const RawTensor* tensor;      // null if `failure` is set
    std::exception_ptr failure = nullptr;
  };
  using Shards = std::map<std::string, Entry>;  // by file; they have no tensor

  const SafetensorsFile& open_shard(const std::string& file);
  void open_indexed(const std::filesystem::path& index);
  Shards open_named(const std::map<std::string, std::string>& files);
  void add_unindexed(const SafetensorsFile& shard);
  const Entry& entry(const std::string& name) const;

  std::filesystem::path folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, RawTensor> expected_;
  std::map<std::string, Entry> tensors_;
  std::exception_ptr first_failure_;  // of an indexed shard
};

}  // namespace indexcache
