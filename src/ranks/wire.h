// SPDX-License-Identifier: Apache-2.0
// Values as bytes of a message. All ranks run the same build, so numbers keep their layout; a
// message that ends early is refused.
#pragma once

#include "core/error.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace indexcache {

class WireWriter {
 public:
  template <typename T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void put(T value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof value); }
  void put(std::string_view text) {
    put(static_cast<std::uint64_t>(text.size()));
    bytes_.append(text);
  }
  // Of numbers.
  template <typename T>
  requires std::is_arithmetic_v<T>
  void put(const std::vector<T>& values) {
    put(static_cast<std::uint64_t>(values.size()));
    if (values.empty()) return;
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }

  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T> T get() {
    T value;
    std::memcpy(&value, next(1, sizeof value), sizeof value);
    return value;
  }
  std::string text() {
    const auto size = get<std::uint64_t>();
    return {next(size, 1), size};
  }
  template <typename T>
  std::vector<T> numbers() {
    const auto size = get<std::uint64_t>();
    const char* from = next(size, sizeof(T));
    std::vector<T> values(size);
    if (size > 0) std::memcpy(values.data(), from, size * sizeof(T));
    return values;
  }
  // A number of items that take at least a byte each.
  std::size_t count() {
    const auto size = get<std::uint64_t>();
    if (size > bytes_.size()) damaged();
    return size;
  }

 private:
  const char* next(std::uint64_t count, std::size_t size) {
    if (count > bytes_.size() / size) damaged();
    const char* at = bytes_.data();
    bytes_.remove_prefix(count * size);
    return at;
  }
  [[noreturn]] static void damaged() {
    throw InternalError({"a message between ranks is damaged", "", "it ends early", ""});
  }

  std::string_view bytes_;
};

}  // namespace indexcache
