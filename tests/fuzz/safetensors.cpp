// SPDX-License-Identifier: Apache-2.0
// A safetensors header; the first eight bytes are the size of the file that it claims to describe.
#include "io/safetensors.h"

#include "fuzz/target.h"

#include <cstring>

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    std::uint64_t bytes = 0;
    if (text.size() < sizeof bytes) return;
    std::memcpy(&bytes, text.data(), sizeof bytes);
    const std::string_view header = text.substr(sizeof bytes);
    const auto file_bytes =
        static_cast<std::int64_t>(header.size() + sizeof bytes + bytes % (std::uint64_t{1} << 50));
    const auto tensors = indexcache::parse_safetensors_header(header, file_bytes, "x");
    for (const auto& [name, tensor] : tensors) {
      if (tensor.offset + tensor.bytes > file_bytes || tensor.elements() < 0) __builtin_trap();
    }
  });
}
