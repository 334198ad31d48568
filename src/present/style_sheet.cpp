// SPDX-License-Identifier: Apache-2.0
#include "present/style_sheet.h"

#include "present/assets.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>
#include <stdexcept>

namespace indexcache {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \n\t");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \n\t") - first + 1);
}

std::string without_comments(std::string_view text) {
  std::string out;
  while (true) {
    const auto begin = text.find("/*");
    out += text.substr(0, begin);
    if (begin == std::string_view::npos) return out;
    const auto end = text.find("*/", begin + 2);
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 2);
  }
}

// "12px" -> 12.
double number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) throw std::logic_error(fmt::format("not a length in CSS: {}", text));
  return value;
}

[[noreturn]] void unknown_color(std::string_view text) {
  throw std::logic_error(fmt::format("not a color in CSS: {}", text));
}

// One channel of "#rgb" or "#rrggbb".
std::uint8_t channel(std::string_view hex, std::size_t index) {
  const std::size_t digits = (hex.size() - 1) / 3;
  unsigned value = 0;
  const char* first = hex.data() + 1 + index * digits;
  const auto [end, error] = std::from_chars(first, first + digits, value, 16);
  if (error != std::errc{} || end != first + digits) unknown_color(hex);
  return static_cast<std::uint8_t>(digits == 1 ? 17 * value : value);
}

}  // namespace

StyleSheet::StyleSheet(std::string_view colors, std::string_view rules) {
  const std::string plain = without_comments(colors);
  const std::string_view root(plain);
  const auto begin = root.find(":root{");
  if (begin == std::string_view::npos) throw std::logic_error("style sheet without :root");
  variables_ = declarations(root.substr(begin + 6, root.find('}', begin) - begin - 6));

  const std::string text = without_comments(rules);
  std::string_view rest(text);
  for (auto open = rest.find('{'); open != std::string_view::npos; open = rest.find('{')) {
    const auto close = rest.find('}', open);
    if (close == std::string_view::npos) throw std::logic_error("style sheet ends inside a rule");
    rules_[std::string(trimmed(rest.substr(0, open)))] =
        declarations(rest.substr(open + 1, close - open - 1));
    rest.remove_prefix(close + 1);
  }
}

StyleSheet::Declarations StyleSheet::declarations(std::string_view body) {
  Declarations found;
  while (!body.empty()) {
    const auto end = std::min(body.find(';'), body.size());
    const std::string_view one = body.substr(0, end);
    if (const auto colon = one.find(':'); colon != std::string_view::npos) {
      found[std::string(trimmed(one.substr(0, colon)))] = trimmed(one.substr(colon + 1));
    }
    body.remove_prefix(std::min(end + 1, body.size()));
  }
  return found;
}

std::optional<Rgb> StyleSheet::color(std::string_view text) const {
  if (text == "none") return std::nullopt;
  if (text.starts_with("var(") && text.ends_with(")")) {
    const auto variable = variables_.find(text.substr(4, text.size() - 5));
    if (variable == variables_.end()) unknown_color(text);
    return color(variable->second);
  }
  if (!text.starts_with("#") || (text.size() != 4 && text.size() != 7)) unknown_color(text);
  return Rgb{channel(text, 0), channel(text, 1), channel(text, 2)};
}

void StyleSheet::apply(const Declarations& declared, ShapeStyle& style) const {
  for (const auto& [name, value] : declared) {
    if (name == "fill") style.fill = color(value);
    if (name == "stroke") style.stroke = color(value);
    if (name == "stroke-width") style.stroke_width = number(value);
    if (name == "font-size") style.font_size = number(value);
  }
}

ShapeStyle StyleSheet::of(std::string_view element, std::string_view classes) const {
  ShapeStyle style;
  const auto general = rules_.find(fmt::format("svg {}", element));
  if (general != rules_.end()) apply(general->second, style);
  std::istringstream names{std::string(classes)};
  for (std::string name; names >> name;) {
    const auto rule = rules_.find("svg ." + name);
    if (rule == rules_.end()) throw std::logic_error("no CSS rule for the class " + name);
    apply(rule->second, style);
  }
  return style;
}

const StyleSheet& chart_style_sheet() {
  static const StyleSheet sheet(kColors, kChartStyle);
  return sheet;
}

}  // namespace indexcache
