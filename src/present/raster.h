// SPDX-License-Identifier: Apache-2.0
// A canvas of pixels, in the colors of the light theme. Only whole pixels are set, and text is in
// the font of present/bitmap_font.h, so a drawing has the same bytes on every machine.
//
// Hints, attributes, dashes and groups have no meaning here and are ignored: whatever is drawn is
// shown.
#pragma once

#include "io/png.h"
#include "present/canvas.h"
#include "present/style_sheet.h"

namespace indexcache {

class Raster final : public Canvas {
 public:
  // `scale`: pixels per unit.
  Raster(double width, double height, int scale);

  void rect(double x, double y, double width, double height, std::string_view css,
            std::string_view hint = "") override;
  void line(double x1, double y1, double x2, double y2, std::string_view css) override;
  void text(double x, double y, std::string_view text, std::string_view css,
            Anchor anchor = Anchor::start) override;
  void text_upwards(double x, double y, std::string_view text, std::string_view css) override;
  void grid(double x, double y, double width, double height, const CellGrid& cells) override;
  void begin_group(std::string_view, std::string_view) override {}
  void end_group() override {}

  const Image& image() const { return image_; }

 private:
  std::ptrdiff_t pixel(double units) const;
  std::ptrdiff_t pen(const ShapeStyle& style) const;
  int font_scale(const ShapeStyle& style) const;
  // Edges are rounded, not widths: neighboring shapes leave no gap.
  void fill(double x, double y, double width, double height, Rgb color);

  int scale_;
  Image image_;
};

}  // namespace indexcache
