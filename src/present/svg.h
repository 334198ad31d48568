// SPDX-License-Identifier: Apache-2.0
// A small writer of SVG: shapes by CSS class, text escaped, coordinates rounded to a tenth of a
// unit.
//
// Colors are left to style sheets (present/assets.h), so that one drawing serves light and dark
// pages.
#pragma once

#include "present/canvas.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace indexcache {

class Svg final : public Canvas {
 public:
  // `title` is what the drawing shows, for those who cannot see it.
  Svg(double width, double height, const std::string& title);

  void rect(double x, double y, double width, double height, std::string_view css,
            std::string_view hint = "") override;
  void line(double x1, double y1, double x2, double y2, std::string_view css) override;
  void circle(double x, double y, double radius, std::string_view css, std::string_view hint = "");
  void polyline(const std::vector<std::pair<double, double>>& points, std::string_view css);
  void polygon(const std::vector<std::pair<double, double>>& points, std::string_view css);
  void text(double x, double y, std::string_view text, std::string_view css,
            Anchor anchor = Anchor::start) override;
  void text_upwards(double x, double y, std::string_view text, std::string_view css) override;
  void grid(double x, double y, double width, double height, const CellGrid& cells) override;

  void begin_group(std::string_view css, std::string_view attributes = "") override;
  void end_group() override;

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
