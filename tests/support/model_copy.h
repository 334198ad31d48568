// SPDX-License-Identifier: Apache-2.0
// Copies of golden checkpoints that a test may change, and sequences that fit them.
#pragma once

#include "io/files.h"
#include "io/json.h"
#include "support/files.h"
#include "support/process.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace indexcache::test {

struct ModelCopy {
  explicit ModelCopy(const std::string& name = "deepseek_v32_tiny") {
    std::filesystem::create_directory(path());
    for (const auto& file : std::filesystem::directory_iterator(golden(name))) {
      const std::string file_name = file.path().filename().string();
      if (file_name.starts_with("golden_")) continue;  // results, which no user has
      std::filesystem::copy(file.path(), path() / file_name);
    }
  }
  std::filesystem::path path() const { return folder / "m"; }
  std::filesystem::path weights() const { return path() / "model.safetensors"; }

  template <typename Change>
  void change_config(Change change) const {
    Json config = parse_json(read_file(path() / "config.json"), "config.json");
    change(config);
    write_text(path() / "config.json", config.dump(1));
  }
  template <typename Change>
  void change_tensors(Change change) const {
    auto tensors = read_safetensors(weights());
    change(tensors);
    write_safetensors(weights(), tensors);
  }

  ProcessResult inspect() const { return run_tool({"inspect", path()}); }

  TempFolder folder;
};

// Gives a layer of the copy another indexer: its key projection in reverse.
inline void change_indexer(const ModelCopy& copy, std::size_t layer) {
  const std::string name = "model.layers." + std::to_string(layer) + ".self_attn.indexer.wk.weight";
  copy.change_tensors([&](std::vector<StoredTensor>& tensors) {
    for (StoredTensor& tensor : tensors) {
      if (tensor.name != name) continue;
      std::vector<float> values(tensor.bytes.size() / sizeof(float));
      std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
      std::ranges::reverse(values);
      std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
    }
  });
}

// Six sequences that fit the tiny models.
inline std::filesystem::path write_ids(const TempFolder& folder) {
  std::string text;
  for (int s = 0; s < 6; ++s) {
    std::string ids;
    for (int t = 0; t < 96; ++t) ids += (t > 0 ? "," : "") + std::to_string((t * 37 + s) % 320);
    text += "{\"input_ids\":[" + ids + "]}\n";
  }
  write_text(folder / "ids.jsonl", text);
  return folder / "ids.jsonl";
}

}  // namespace indexcache::test
