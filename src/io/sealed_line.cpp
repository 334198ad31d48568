// SPDX-License-Identifier: Apache-2.0
#include "io/sealed_line.h"

#include <fmt/format.h>

#include <zlib.h>

namespace indexcache {
namespace {

// The member that takes the place of the object's closing brace.
std::string seal_of(std::string_view object) {
  const uLong sum = crc32_z(0, reinterpret_cast<const Bytef*>(object.data()), object.size());
  return fmt::format(",\"crc32\":\"{:08x}\"}}", static_cast<unsigned>(sum));
}

const std::size_t kSealLength = seal_of("{}").size();

}  // namespace

std::string seal_line(std::string_view object) {
  return std::string(object.substr(0, object.size() - 1)) + seal_of(object);
}

std::optional<std::string> unseal_line(std::string_view line) {
  if (line.size() <= kSealLength) return std::nullopt;
  const std::size_t end = line.size() - kSealLength;
  std::string object = std::string(line.substr(0, end)) + "}";
  if (line.substr(end) != seal_of(object)) return std::nullopt;
  return object;
}

}  // namespace indexcache
