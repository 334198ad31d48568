// SPDX-License-Identifier: Apache-2.0
// A small writer of SVG: shapes by CSS class, text escaped, coordinates rounded to a tenth of a
// unit.
//
// Colors are left to style sheets (present/assets.h), so that one drawing serves light and dark
// pages.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace indexcache {

enum class Anchor { start, middle, end };

// Cells of equal size with colors of their own ("#rrggbb"); cells of one color become one path,
// which keeps a matrix of 78 layers small.
class CellGrid {
 public:
  void add(std::size_t row, std::size_t column, const std::string& color);

 private:
  friend class Svg;
  std::map<std::string, std::string> paths_;
};

class Svg {
 public:
  // `title` is what the drawing shows, for those who cannot see it.
  Svg(double width, double height, const std::string& title);

  void rect(double x, double y, double width, double height, std::string_view css,
            std::string_view hint = "");
  void line(double x1, double y1, double x2, double y2, std::string_view css);
  void circle(double x, double y, double radius, std::string_view css, std::string_view hint = "");
  void polyline(const std::vector<std::pair<double, double>>& points, std::string_view css);
  void polygon(const std::vector<std::pair<double, double>>& points, std::string_view css);
  void text(double x, double y, std::string_view text, std::string_view css,
            Anchor anchor = Anchor::start);
  // Read from bottom to top.
  void text_upwards(double x, double y, std::string_view text, std::string_view css);
  // `width` and `height` are those of one cell.
  void grid(double x, double y, double width, double height, const CellGrid& cells);

  void begin_group(std::string_view css, std::string_view attributes = "");
  void end_group();

  // The element for a page.
  std::string inline_text() const;
  // A file of its own, with the style sheet that pages give it.
  std::string document() const;

 private:
  std::string element(std::string_view extra) const;

  double width_;
  double height_;
  std::string title_;
  std::string body_;
};

}  // namespace indexcache
