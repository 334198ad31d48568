// SPDX-License-Identifier: Apache-2.0
// The tensors of a Hugging Face folder: model.safetensors, or shards with an index.
#pragma once

#include "io/safetensors.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace indexcache {

class Checkpoint {
 public:
  // Maps every shard and reads the headers; no tensor data is touched. Throws InputError when the
  // folder, the index or a shard is missing or contradicts itself.
  explicit Checkpoint(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }

  // Throws InputError naming the tensor when it is absent.
  const RawTensor& tensor(const std::string& name) const;

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
    const SafetensorsFile* file;
    const RawTensor* tensor;
  };

  std::filesystem::path folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace indexcache
