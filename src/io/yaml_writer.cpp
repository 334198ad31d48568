// SPDX-License-Identifier: Apache-2.0
#include "core/utf8.h"
#include "io/yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace indexcache {
namespace {

// Characters that YAML does not take as they are, though JSON does.
bool needs_escape(char32_t character) {
  return (character >= 0x7F && character < 0xA0) || character == 0xFEFF ||
         (character >= 0xFFFE && character <= 0xFFFF) || character == 0x2028 || character == 0x2029;
}

// JSON's strings are double-quoted YAML.
std::string quoted(const std::string& text) {
  const std::string json = Json(printable_utf8(text)).dump();
  std::string out;
  for (std::size_t at = 0; at < json.size();) {
    const std::size_t length = utf8_length(json, at);
    const char32_t character = utf8_character(json, at);
    if (needs_escape(character)) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(character));
    } else {
      out += json.substr(at, length);
    }
    at += length;
  }
  return out;
}

// A key is plain if no YAML takes it for anything but a string.
std::string key_text(const std::string& key) {
  constexpr std::array kReserved = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool plain =
      !key.empty() && letter(key.front()) && key.back() != ' ' && key.back() != '-' &&
      std::ranges::find(kReserved, key) == kReserved.end() && std::ranges::all_of(key, [&](char c) {
        return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == ' ';
      });
  return plain ? key : quoted(key);
}

// With a point before an exponent: readers of YAML 1.1 take 1e-05 for text.
std::string number_text(double value) {
  std::string text = fmt::format("{}", value);
  const auto exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) {
    text.insert(exponent, ".0");
  }
  return text;
}

std::string flow_text(const Json& json) {
  std::string text;
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", key_text(key), flow_text(value));
    }
    return "{" + text + "}";
  }
  if (json.is_array()) {
    for (const Json& value : json) text += (text.empty() ? "" : ", ") + flow_text(value);
    return "[" + text + "]";
  }
  if (json.is_null()) return "~";
  if (json.is_string()) return quoted(json.get<std::string>());
  return json.is_number_float() ? number_text(json.get<double>()) : json.dump();
}

void write(const Json& json, std::size_t indent, std::string& out) {
  const std::string margin(indent, ' ');
  for (const auto& [key, value] : json.items()) {
    out += margin + key_text(key) + ":";
    if (value.is_object() && !value.empty()) {
      out += "\n";
      write(value, indent + 2, out);
    } else if (value.is_array() && !value.empty() && value[0].is_object()) {
      out += "\n";
      for (const Json& entry : value) out += margin + "  - " + flow_text(entry) + "\n";
    } else {
      out += " " + flow_text(value) + "\n";
    }
  }
}

}  // namespace

std::string to_yaml(const Json& document) {
  if (!document.is_object() || document.empty()) return flow_text(document) + "\n";
  std::string out;
  write(document, 0, out);
  return out;
}

}  // namespace indexcache
