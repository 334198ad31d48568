// SPDX-License-Identifier: Apache-2.0
// Paths of test data, scratch folders, and checkpoints written by tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace indexcache::test {

std::filesystem::path golden(const std::string& name);  // tests/golden/NAME
std::filesystem::path data(const std::string& name);    // data/NAME

// The checkpoints in tests/golden: of every family, from FP8 weights, and natively shared.
inline const std::vector<std::string> kGoldenModels = {"deepseek_v32_tiny",
                                                       "deepseek_v32_fp8_tiny",
                                                       "glm_moe_dsa_tiny",
                                                       "glm_moe_dsa_fp8_tiny",
                                                       "glm_moe_dsa_shared_tiny",
                                                       "axk2_tiny",
                                                       "hy_v4_tiny"};

// A fresh folder, removed with the object.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

void write_text(const std::filesystem::path& path, const std::string& text);
void copy_folder(const std::filesystem::path& from, const std::filesystem::path& to);

// One tensor of a safetensors file to write; bytes are taken as they are.
struct StoredTensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

void write_safetensors(const std::filesystem::path& path, const std::vector<StoredTensor>& tensors);

// All tensors of a safetensors file, to be changed and written again.
std::vector<StoredTensor> read_safetensors(const std::filesystem::path& path);

// A file of header length, header text and data, none of which need be true.
void write_raw_safetensors(const std::filesystem::path& path, std::uint64_t length,
                           const std::string& header, const std::string& data);

std::string bytes_of(const std::vector<float>& values);

}  // namespace indexcache::test
