// SPDX-License-Identifier: Apache-2.0
// The tensors of a Hugging Face folder: model.safetensors, or shards with an index.
#pragma once

#include "io/safetensors.h"

#include <cstdint>
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

class Checkpoint {
 public:
  // Opens every shard and reads the headers; no tensor data is touched. Throws InputError when the
  // folder, the index or a shard is missing or contradicts itself.
  explicit Checkpoint(const std::filesystem::path& folder);

  // A checkpoint that is not there: what it would hold, to plan with. Nothing can be read from it.
  Checkpoint(const std::filesystem::path& folder, std::map<std::string, RawTensor> expected);

  const std::filesystem::path& folder() const { return folder_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }

  // Throws InputError naming the tensor when it is absent.
  const RawTensor& tensor(const std::string& name) const;

  // Bytes of a tensor, as SafetensorsFile::read.
  void read(const std::string& name, std::int64_t first, std::span<std::byte> out) const;
  std::vector<std::byte> read(const std::string& name) const;
  void forget(const std::string& name) const;

  // "file: tensor", for messages.
  std::string where(const std::string& name) const;

  const std::vector<std::unique_ptr<SafetensorsFile>>& shards() const { return shards_; }
  std::size_t tensor_count() const { return tensors_.size(); }
  std::int64_t total_bytes() const;

  // SHA-256 over every shard's name, length and header: changes with any name, shape, dtype or
  // layout. It does not read the weights themselves.
  std::string layout_sha256() const;

 private:
  void open_shard(const std::string& file);
  void open_indexed(const std::filesystem::path& index);

  struct Entry {
    const SafetensorsFile* file;  // null in a checkpoint that is not there
    const RawTensor* tensor;
  };
  const Entry& entry(const std::string& name) const;

  std::filesystem::path folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, RawTensor> expected_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace indexcache
