// SPDX-License-Identifier: Apache-2.0
#include "text/normalizer.h"

#include "core/error.h"
#include "core/utf8.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <utf8proc.h>

namespace indexcache {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Characters of Unicode 10 to 16 that have a combining class or a part in a composition.
constexpr Range kNotNormalized[] = {
    {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x105D2, 0x105D2},
    {0x105DA, 0x105DA}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC},
    {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x11382, 0x11382}, {0x11384, 0x11384}, {0x1138B, 0x1138B},
    {0x11390, 0x11390}, {0x113B8, 0x113B8}, {0x113BB, 0x113BB}, {0x113C2, 0x113C2},
    {0x113C9, 0x113C9}, {0x113CE, 0x113D0}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x11935, 0x11935}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99},
    {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x1611E, 0x16129}, {0x1612F, 0x1612F}, {0x16D63, 0x16D63}, {0x16D67, 0x16D6A},
    {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}};

bool stays(char32_t character) {
  const auto* after = std::ranges::upper_bound(kNotNormalized, character, {}, &Range::first);
  return after != std::begin(kNotNormalized) && character <= std::prev(after)->last;
}

void append_composed(std::string_view text, std::string& out) {
  if (text.empty()) return;
  utf8proc_uint8_t* raw = nullptr;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &raw, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> bytes(raw, std::free);
  if (length < 0) throw InternalError({"NFC failed", "", utf8proc_errmsg(length), ""});
  out.append(reinterpret_cast<const char*>(bytes.get()), static_cast<std::size_t>(length));
}

}  // namespace

std::string normalize_nfc(std::string_view text) {
  const auto is_ascii = [](char byte) { return static_cast<signed char>(byte) >= 0; };
  if (std::ranges::all_of(text, is_ascii)) return std::string(text);
  std::string composed;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    if (length > 1 && stays(utf8_character(text, at))) {
      append_composed(text.substr(done, at - done), composed);
      composed += text.substr(at, length);
      done = at + length;
    }
    at += length;
  }
  append_composed(text.substr(done), composed);
  return composed;
}

}  // namespace indexcache
