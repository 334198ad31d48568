// SPDX-License-Identifier: Apache-2.0
#include "present/raster.h"

#include "present/bitmap_font.h"

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

std::size_t pixels(double units, int scale) {
  return static_cast<std::size_t>(std::lround(units * scale));
}

Rgb paper() {
  return chart_style_sheet().of("rect", "paper").fill.value();
}

}  // namespace

Raster::Raster(double width, double height, int scale)
    : scale_(scale), image_(pixels(width, scale), pixels(height, scale), paper()) {}

std::ptrdiff_t Raster::pixel(double units) const {
  return std::lround(units * scale_);
}

std::ptrdiff_t Raster::pen(const ShapeStyle& style) const {
  return std::max<std::ptrdiff_t>(pixel(style.stroke_width), 1);
}

// A glyph with its space is 6 pixels wide: at 12 units, about the width of a browser's sans-serif.
int Raster::font_scale(const ShapeStyle& style) const {
  return std::max(static_cast<int>(std::lround(style.font_size * scale_ / 12)), 1);
}

void Raster::fill(double x, double y, double width, double height, Rgb color) {
  image_.fill(pixel(x), pixel(y), pixel(x + width) - pixel(x), pixel(y + height) - pixel(y), color);
}

void Raster::rect(double x, double y, double width, double height, std::string_view css,
                  std::string_view /*hint*/) {
  const ShapeStyle style = chart_style_sheet().of("rect", css);
  if (style.fill) fill(x, y, width, height, *style.fill);
  if (!style.stroke) return;
  const std::ptrdiff_t thickness = pen(style);  // half of it inside, half outside
  const std::ptrdiff_t outside = thickness / 2;
  image_.frame(pixel(x) - outside, pixel(y) - outside, pixel(x + width) - pixel(x) + 2 * outside,
               pixel(y + height) - pixel(y) + 2 * outside, thickness, *style.stroke);
}

void Raster::line(double x1, double y1, double x2, double y2, std::string_view css) {
  const ShapeStyle style = chart_style_sheet().of("line", css);
  if (!style.stroke) return;
  const std::ptrdiff_t thickness = pen(style);
  const auto steps = std::max({std::abs(pixel(x2 - x1)), std::abs(pixel(y2 - y1)), 1L});
  for (std::ptrdiff_t i = 0; i <= steps; ++i) {
    const double part = static_cast<double>(i) / static_cast<double>(steps);
    image_.fill(pixel(x1 + part * (x2 - x1)) - thickness / 2,
                pixel(y1 + part * (y2 - y1)) - thickness / 2, thickness, thickness, *style.stroke);
  }
}

void Raster::text(double x, double y, std::string_view text, std::string_view css, Anchor anchor) {
  const ShapeStyle style = chart_style_sheet().of("text", css);
  if (!style.fill) return;
  const int font = font_scale(style);
  const std::ptrdiff_t width = text_width(text, font) - font;  // without the last glyph's space
  const std::ptrdiff_t before = anchor == Anchor::start    ? 0
                                : anchor == Anchor::middle ? width / 2
                                                           : width;
  draw_text(image_, pixel(x) - before, pixel(y) - text_height(font), text, font, *style.fill);
}

void Raster::text_upwards(double x, double y, std::string_view text, std::string_view css) {
  const ShapeStyle style = chart_style_sheet().of("text", css);
  if (!style.fill) return;
  const int font = font_scale(style);
  draw_text_upwards(image_, pixel(x) - text_height(font),
                    pixel(y) + (text_width(text, font) - font) / 2, text, font, *style.fill);
}

void Raster::grid(double x, double y, double width, double height, const CellGrid& cells) {
  for (const auto& [color, places] : cells.by_color()) {
    for (const auto& [row, column] : places) {
      fill(x + static_cast<double>(column) * width, y + static_cast<double>(row) * height, width,
           height, color);
    }
  }
}

}  // namespace indexcache
