// SPDX-License-Identifier: Apache-2.0
#include "core/quote.h"

#include "core/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace indexcache {
namespace {

constexpr std::size_t kCharacters = 60;
constexpr std::size_t kBefore = 40;  // of them, before the place that matters
constexpr std::size_t kLongest = 4;  // bytes of a character

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// Controls, and characters that reorder or hide the text around them.
bool is_invisible(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

std::string escaped(char32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  const auto code = static_cast<std::uint32_t>(c);
  return code < 0x80 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{:04x}", code);
}

// A character as it is printed, and the byte after it.
struct Shown {
  std::string text;
  std::size_t end;
};

Shown shown_at(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  while (end < text.size() && end - at < kLongest && is_continuation(text[end])) ++end;
  const std::string_view bytes = text.substr(at, end - at);
  if (const auto invalid = find_invalid_utf8(bytes)) {
    if (*invalid == 0)
      return {fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at])), at + 1};
    end = at + *invalid;
  }
  const char32_t character = utf8_character(text, at);
  if (is_invisible(character)) return {escaped(character), end};
  return {std::string(text.substr(at, end - at)), end};
}

}  // namespace

std::string excerpt(std::string_view text, std::size_t at) {
  at = std::min(at, text.size());
  std::size_t begin = at - std::min(at, kCharacters * kLongest);
  while (begin > 0 && begin < at && is_continuation(text[begin])) ++begin;
  std::vector<std::string> characters;
  std::size_t place = 0;  // the first character that ends beyond `at`
  std::size_t end = begin;
  while (end < text.size() && (end <= at || characters.size() < place + kCharacters)) {
    if (end <= at) place = characters.size();
    const Shown one = shown_at(text, end);
    characters.push_back(one.text);
    end = one.end;
  }
  std::size_t first = place - std::min(place, kBefore);
  const std::size_t last = std::min(characters.size(), first + kCharacters);
  if (last == characters.size()) first = last - std::min(last, kCharacters);
  std::string shown = first > 0 || begin > 0 ? "…" : "";
  for (std::size_t i = first; i < last; ++i) shown += characters[i];
  return last < characters.size() || end < text.size() ? shown + "…" : shown;
}

std::string quote(std::string_view text, std::size_t at) {
  return "\"" + excerpt(text, at) + "\"";
}

std::string bounded(std::string text, std::size_t bytes) {
  static constexpr std::string_view kGap = " … ";
  if (text.size() <= bytes || bytes < kGap.size()) return text;
  std::size_t front = (bytes - kGap.size()) * 2 / 3;
  std::size_t back = text.size() - (bytes - kGap.size() - front);
  while (front > 0 && is_continuation(text[front])) --front;
  while (back < text.size() && is_continuation(text[back])) ++back;
  return text.replace(front, back - front, kGap);
}

}  // namespace indexcache
