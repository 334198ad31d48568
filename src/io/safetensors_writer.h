// SPDX-License-Identifier: Apache-2.0
// Writes a safetensors file, a piece of a tensor at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace indexcache {

// A tensor to write, and where its bytes come from.
struct TensorSource {
  std::string name;
  std::string type;  // as in headers: "BF16"
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;
  // Fills `out` with the bytes from byte `first` of the tensor on.
  std::function<void(std::int64_t first, std::span<std::byte> out)> read;
};

// Of any file; strings that a header holds next to the tensors.
using SafetensorsMetadata = std::map<std::string, std::string>;

// Size of the file that write_safetensors would write.
std::int64_t safetensors_bytes(const std::vector<TensorSource>& tensors,
                               const SafetensorsMetadata& metadata);

// Replaces `path` atomically by a file that has the tensors' data in the given order and begins it
// at a multiple of 8 bytes. Equal arguments give equal bytes. The data of a tensor is aligned if
// those of wider types come first. Throws ResourceError when the disk refuses, Interrupted after a
// signal, and what reading a source throws; `path` is then unchanged.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorSource>& tensors,
                       const SafetensorsMetadata& metadata);

}  // namespace indexcache
