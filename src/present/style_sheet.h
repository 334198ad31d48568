// SPDX-License-Identifier: Apache-2.0
// What the style sheets of a page say about a shape, for canvases without a browser: the same files
// decide the colors of both, so that they cannot drift apart.
#pragma once

#include "io/png.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

struct ShapeStyle {
  std::optional<Rgb> fill = Rgb{0, 0, 0};  // absent: none
  std::optional<Rgb> stroke;
  double stroke_width = 1;  // units of the drawing
  double font_size = 16;
};

class StyleSheet {
 public:
  // Reads the subset of CSS that present/assets/ uses: variables from the first `:root` of `colors`
  // (the light theme), rules `svg ELEMENT` and `svg .CLASS` from `rules`; other rules are ignored.
  StyleSheet(std::string_view colors, std::string_view rules);

  // The style of an element of the given classes (separated by spaces). Throws std::logic_error for
  // a class without a rule, or a color that is neither #rgb, #rrggbb, none nor a known variable.
  ShapeStyle of(std::string_view element, std::string_view classes) const;

 private:
  using Declarations = std::map<std::string, std::string, std::less<>>;

  static Declarations declarations(std::string_view body);
  void apply(const Declarations& declared, ShapeStyle& style) const;
  std::optional<Rgb> color(std::string_view text) const;

  Declarations variables_;                                  // "--ink" -> "#1a1c20"
  std::map<std::string, Declarations, std::less<>> rules_;  // by selector
};

// present/assets/colors.css and charts.css.
const StyleSheet& chart_style_sheet();

}  // namespace indexcache
