// SPDX-License-Identifier: Apache-2.0
#include "present/escape.h"

#include "core/utf8.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace indexcache {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD

using Replacements = std::initializer_list<std::pair<char, const char*>>;

std::string replaced(std::string_view text, Replacements replacements) {
  std::string out;
  for (const char letter : clean_text(text)) {
    const auto found =
        std::ranges::find(replacements, letter, [](const auto& r) { return r.first; });
    if (found == replacements.end()) {
      out += letter;
    } else {
      out += found->second;
    }
  }
  return out;
}

}  // namespace

std::string clean_text(std::string_view text) {
  const std::string valid = printable_utf8(text);
  std::string out;
  for (std::size_t at = 0; at < valid.size();) {
    const std::string part = valid.substr(at, utf8_length(valid, at));
    const auto lead = static_cast<unsigned char>(part[0]);
    const bool control =
        lead == 0x7F || (lead < 0x20 && lead != '\t' && lead != '\n' && lead != '\r');
    const bool forbidden = part == "\xEF\xBF\xBE" || part == "\xEF\xBF\xBF";
    out += control || forbidden ? kReplacement : part;
    at += part.size();
  }
  return out;
}

std::string escape_markup(std::string_view text) {
  return replaced(text,
                  {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}});
}

std::string escape_attribute(std::string_view text) {
  return replaced(text, {{'&', "&amp;"},
                         {'<', "&lt;"},
                         {'>', "&gt;"},
                         {'"', "&quot;"},
                         {'\'', "&apos;"},
                         {'\t', "&#9;"},
                         {'\n', "&#10;"},
                         {'\r', "&#13;"}});
}

std::string escape_markdown(std::string_view text) {
  return replaced(text, {{'&', "&amp;"},
                         {'<', "&lt;"},
                         {'>', "&gt;"},
                         {'|', "&#124;"},
                         {'\\', "&#92;"},
                         {'`', "&#96;"},
                         {'*', "&#42;"},
                         {'_', "&#95;"},
                         {'[', "&#91;"},
                         {']', "&#93;"},
                         {'@', "&#64;"},
                         {'#', "&#35;"},
                         {'!', "&#33;"},
                         {'~', "&#126;"},
                         {'\t', " "},
                         {'\n', " "},
                         {'\r', " "}});
}

std::string escape_command(std::string_view text) {
  return replaced(text, {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}});
}

std::string escape_command_property(std::string_view text) {
  return replaced(text, {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}, {':', "%3A"}, {',', "%2C"}});
}

}  // namespace indexcache
