// SPDX-License-Identifier: Apache-2.0
// What a drawing is made of. A chart that is wanted both as SVG and as pixels is written once
// against Canvas; present/svg.h and present/raster.h implement it.
//
// Units are those of the drawing; y grows downward. A shape has a CSS class (or several, separated
// by spaces) of present/assets/charts.css, which decides its colors, stroke and font size.
#pragma once

#include "io/png.h"

#include <cstddef>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

namespace indexcache {

enum class Anchor { start, middle, end };

// Cells of equal size, each with its own color; grouped by color, because an SVG then needs one
// path per color, which keeps a matrix of 78 layers small.
class CellGrid {
 public:
  using Cell = std::pair<std::size_t, std::size_t>;  // row, column

  void add(std::size_t row, std::size_t column, Rgb color) {
    cells_[color].emplace_back(row, column);
  }
  const std::map<Rgb, std::vector<Cell>>& by_color() const { return cells_; }

 private:
  std::map<Rgb, std::vector<Cell>> cells_;
};

class Canvas {
 public:
  virtual ~Canvas() = default;

  // `hint` is shown when the pointer rests on the shape, if the canvas can do that.
  virtual void rect(double x, double y, double width, double height, std::string_view css,
                    std::string_view hint = "") = 0;
  virtual void line(double x1, double y1, double x2, double y2, std::string_view css) = 0;
  // (x, y): the baseline's start, middle or end.
  virtual void text(double x, double y, std::string_view text, std::string_view css,
                    Anchor anchor = Anchor::start) = 0;
  // Read from bottom to top; (x, y) is the middle of the baseline.
  virtual void text_upwards(double x, double y, std::string_view text, std::string_view css) = 0;
  // (x, y) is the upper left corner; `width` and `height` are those of one cell.
  virtual void grid(double x, double y, double width, double height, const CellGrid& cells) = 0;

  // Shapes that a page can show and hide together.
  virtual void begin_group(std::string_view css, std::string_view attributes = "") = 0;
  virtual void end_group() = 0;
};

}  // namespace indexcache
