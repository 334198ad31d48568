// SPDX-License-Identifier: Apache-2.0
#include "support/files.h"

#include "io/json.h"
#include "io/safetensors.h"

#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace indexcache::test {

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "tests/golden" / name;
}

std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(INDEXCACHE_SOURCE_DIR) / "data" / name;
}

TempFolder::TempFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "indexcache-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

void copy_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::copy(
      from, to,
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
}

void write_raw_safetensors(const std::filesystem::path& path, std::uint64_t length,
                           const std::string& header, const std::string& data) {
  std::string text(reinterpret_cast<const char*>(&length), sizeof(length));
  write_text(path, text + header + data);
}

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<StoredTensor>& tensors) {
  Json header = Json::object();
  std::string data;
  for (const StoredTensor& tensor : tensors) {
    header[tensor.name] = Json{{"dtype", tensor.dtype},
                               {"shape", tensor.shape},
                               {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  const std::string text = header.dump();
  write_raw_safetensors(path, text.size(), text, data);
}

std::vector<StoredTensor> read_safetensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  std::vector<StoredTensor> tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    const std::vector<std::byte> bytes = file.read(tensor);
    tensors.push_back({name, std::string(name_of(tensor.dtype)), tensor.shape,
                       std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
  }
  return tensors;
}

std::string bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace indexcache::test
