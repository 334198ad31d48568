// SPDX-License-Identifier: Apache-2.0
// One safetensors file: 8 bytes header length, JSON header, data. Every claim of the header is
// checked against the file before a tensor can be taken from it (specs: dsa-numerics 8.3).
#pragma once

#include "core/dtype.h"
#include "io/mapped_file.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace indexcache {

// A tensor as stored: row-major, little-endian, not necessarily aligned. Does not own its bytes.
struct RawTensor {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  std::int64_t elements() const;
};

std::string shape_text(const std::vector<std::int64_t>& shape);  // "[2, 3]"

class SafetensorsFile {
 public:
  // Throws InputError on any claim that cannot be true: a header longer than the file, an unknown
  // dtype, a byte range that is not the shape's size, overlaps, gaps, or trailing bytes.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::map<std::string, RawTensor>& tensors() const { return tensors_; }
  const std::filesystem::path& path() const { return path_; }
  std::size_t file_bytes() const { return file_.bytes().size(); }
  const std::string& header_sha256() const { return header_sha256_; }

 private:
  std::filesystem::path path_;
  MappedFile file_;
  std::map<std::string, RawTensor> tensors_;
  std::string header_sha256_;
};

}  // namespace indexcache
