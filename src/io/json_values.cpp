// SPDX-License-Identifier: Apache-2.0
#include "io/json_values.h"

#include "core/error.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

constexpr std::size_t kBufferBytes = 1 << 18;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

}  // namespace

JsonValueReader::JsonValueReader(ByteStream& stream, std::string where)
    : stream_(stream), where_(std::move(where)), buffer_(kBufferBytes) {}

void JsonValueReader::fail(const std::string& why) const {
  throw InputError({"invalid JSON", fmt::format("{}:{}:{}", where_, line_, column_), why,
                    "check that the file is complete"});
}

bool JsonValueReader::more() {
  if (at_ < size_) return true;
  size_ = stream_.read(buffer_);
  at_ = 0;
  return size_ > 0;
}

void JsonValueReader::take(std::string* value) {
  const char c = buffer_[at_++];
  if (value != nullptr) *value += c;
  ++column_;
  if (c != '\n') return;
  ++line_;
  column_ = 1;
}

bool JsonValueReader::skip_space() {
  while (more() && is_space(peek())) take(nullptr);
  return more();
}

// Goes to where the next value begins.
bool JsonValueReader::find_value() {
  if (!skip_space()) {
    if (in_list_) fail("the file ends inside a list");
    return false;
  }
  if (!started_) {
    started_ = true;
    in_list_ = peek() == '[';
    if (in_list_) {
      take(nullptr);
      return find_value();
    }
  }
  if (!in_list_) return true;
  if (peek() == ',' && count_ > 0) {
    take(nullptr);
    if (!skip_space()) fail("the file ends inside a list");
    return true;
  }
  if (peek() != ']') {
    if (count_ > 0) fail("a comma or the end of the list is missing");
    return true;
  }
  take(nullptr);
  if (skip_space()) fail("unexpected text after the list");
  return false;
}

void JsonValueReader::take_string(std::string& value) {
  take(&value);
  while (more()) {
    const char c = peek();
    take(&value);
    if (c == '"') return;
    if (c == '\\' && more()) take(&value);
  }
}

// A value that is not JSON ends somewhere, too; whoever parses it says what is wrong.
void JsonValueReader::take_value(std::string& value) {
  std::size_t depth = 0;
  while (more()) {
    const char c = peek();
    const bool closes = c == ']' || c == '}';
    if (depth == 0 && !value.empty() && (is_space(c) || c == ',' || closes)) return;
    if (c == '"') {
      take_string(value);
      if (depth == 0) return;
      continue;
    }
    if (c == '[' || c == '{') ++depth;
    if (closes && depth > 0) --depth;
    take(&value);
    if (closes && depth == 0) return;
  }
}

bool JsonValueReader::next(std::string& value, JsonPlace& place) {
  value.clear();
  if (ended_ || !find_value()) {
    ended_ = true;
    return false;
  }
  place = {where_, line_, column_};
  take_value(value);
  ++count_;
  return true;
}

}  // namespace indexcache
