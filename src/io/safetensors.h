// SPDX-License-Identifier: Apache-2.0
// One safetensors file: 8 bytes header length, JSON header, data. Every claim of the header is
// checked against the file before a tensor can be taken from it.
#pragma once

#include "core/dtype.h"
#include "io/random_access_file.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// A tensor as stored: row-major, little-endian, not necessarily aligned.
struct RawTensor {
  DType dtype = DType::f32;
  std::string type_name = {};  // as in the header; empty for a tensor that is only expected
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // of its first byte, from the beginning of the file
  std::int64_t bytes = 0;

  std::int64_t elements() const;
  std::string_view type() const;  // "BF16", or what else the header says
};

std::string shape_text(const std::vector<std::int64_t>& shape);  // "[2, 3]"

// The tensors that a header of a file of `file_bytes` bytes describes. Throws InputError naming
// `where` on any claim that cannot be true: a byte range that is not the shape's size, overlaps,
// gaps, or bytes that no tensor owns. Dtypes that are not known are accepted, because nobody may
// need these tensors.
std::map<std::string, RawTensor> parse_safetensors_header(std::string_view header,
                                                          std::int64_t file_bytes,
                                                          const std::string& where);

class SafetensorsFile {
 public:
  // Reads and checks only the header. Throws InputError if the file is too short for it or is of
  // another kind (file_kind.h), and what parse_safetensors_header throws.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::map<std::string, RawTensor>& tensors() const { return tensors_; }
  const std::filesystem::path& path() const { return file_.path(); }
  std::int64_t file_bytes() const { return file_.size(); }
  const std::string& header_sha256() const { return header_sha256_; }

  // The strings next to the tensors ("__metadata__"), read again; what is no string, against the
  // format, as JSON.
  std::map<std::string, std::string> metadata() const;

  // Fills `out` with bytes of a tensor, from byte `first` of it on. Safe on several threads. Throws
  // ResourceError when the disk does not give them.
  void read(const RawTensor& tensor, std::int64_t first, std::span<std::byte> out) const {
    file_.read(tensor.offset + first, out);
  }
  // All of its bytes.
  std::vector<std::byte> read(const RawTensor& tensor) const;

  // Lets the system's cache drop the bytes of a tensor.
  void forget(const RawTensor& tensor) const { file_.forget(tensor.offset, tensor.bytes); }

 private:
  RandomAccessFile file_;
  std::map<std::string, RawTensor> tensors_;
  std::string header_sha256_;
};

}  // namespace indexcache
