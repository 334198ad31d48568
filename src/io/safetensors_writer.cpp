// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_writer.h"

#include "core/error.h"
#include "core/interrupt.h"
#include "io/files.h"
#include "io/json.h"
#include "io/output_file.h"

#include <algorithm>

namespace indexcache {
namespace {

constexpr std::int64_t kPiece = std::int64_t{4} << 20;

// The length of the header, and the header; spaces at its end align the data.
std::string beginning_of(const std::vector<TensorSource>& tensors,
                         const SafetensorsMetadata& metadata) {
  LargeJson header = LargeJson::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t end = 0;
  for (const TensorSource& tensor : tensors) {
    const std::int64_t begin = end;
    end += tensor.bytes;
    const bool added = header
                           .emplace(tensor.name, LargeJson{{"dtype", tensor.type},
                                                           {"shape", tensor.shape},
                                                           {"data_offsets", {begin, end}}})
                           .second;
    if (!added) throw InternalError({"a tensor is to be written twice", tensor.name, "", ""});
  }
  std::string text = header.dump(-1, ' ', false, LargeJson::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

}  // namespace

std::int64_t safetensors_bytes(const std::vector<TensorSource>& tensors,
                               const SafetensorsMetadata& metadata) {
  auto bytes = static_cast<std::int64_t>(beginning_of(tensors, metadata).size());
  for (const TensorSource& tensor : tensors) bytes += tensor.bytes;
  return bytes;
}

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorSource>& tensors,
                       const SafetensorsMetadata& metadata) {
  const std::string beginning = beginning_of(tensors, metadata);
  replace_file(path, [&](const std::filesystem::path& temporary) {
    OutputFile file(temporary, path);
    file.write(std::as_bytes(std::span(beginning)));
    std::vector<std::byte> buffer;
    for (const TensorSource& tensor : tensors) {
      for (std::int64_t at = 0; at < tensor.bytes; at += kPiece) {
        check_interrupt();
        buffer.resize(static_cast<std::size_t>(std::min(tensor.bytes - at, kPiece)));
        tensor.read(at, buffer);
        file.write(buffer);
      }
    }
    file.close();
  });
}

}  // namespace indexcache
