// SPDX-License-Identifier: Apache-2.0
#include "present/heatmap.h"

#include "present/raster.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace indexcache {
namespace {

constexpr double kHeading = 40;     // units above the drawing in a picture of its own
constexpr int kPixelsPerUnit = 2;   // 960 x 1104 pixels, whatever the number of layers
constexpr double kMarginLeft = 40;  // of the matrix

// Shades of viridis are rounded to 128: the eye does not tell more apart.
CellGrid heat_cells(const Overlap& overlap) {
  CellGrid cells;
  for (std::size_t i = 0; i < overlap.layers; ++i) {
    for (std::size_t j = 0; j < overlap.layers; ++j) {
      cells.add(i, j, viridis(std::round(overlap.mean(i, j) * 127) / 127));
    }
  }
  return cells;
}

void draw_blocks(Canvas& canvas, const Plot& plot, double cell, const Overlap& overlap,
                 const LayerNumbers& numbers) {
  for (const OverlapBlock& block : find_blocks(overlap)) {
    const double offset = static_cast<double>(block.first) * cell;
    const double side = static_cast<double>(block.last - block.first + 1) * cell;
    canvas.rect(
        plot.left + offset, plot.top + offset, side, side, "block",
        fmt::format("layers {} to {} agree", numbers.of(block.first), numbers.of(block.last)));
  }
}

// One mark per shared layer (row) at its donor (column).
void draw_donors(Canvas& canvas, const Plot& plot, double cell, const Pattern& pattern) {
  for (const std::size_t layer : pattern.shared_layers()) {
    const double x = plot.left + static_cast<double>(pattern.donor(layer)) * cell;
    const double y = plot.top + static_cast<double>(layer) * cell;
    canvas.rect(x, y, cell, cell, "donor");
    canvas.rect(x + 1, y + 1, cell - 2, cell - 2, "donor-in");
  }
}

void draw_color_bar(Canvas& canvas, double top) {
  CellGrid bar;
  for (std::size_t i = 0; i < 50; ++i) {
    bar.add(0, i, viridis((static_cast<double>(i) + 0.5) / 50));
  }
  canvas.grid(130, top, 4, 12, bar);
  canvas.text(124, top + 11, "0", "tick", Anchor::end);
  canvas.text(336, top + 11, "1  share in common", "tick");
}

}  // namespace

Plot heatmap_area(double top) {
  return {kMarginLeft, top + 8, kHeatmapWidth - 10, top + 438};
}

Rgb viridis(double t) {
  // Nine samples of the color map of Smith and van der Walt, joined linearly.
  static constexpr std::array<Rgb, 9> kPoints = {{{68, 1, 84},
                                                  {71, 45, 123},
                                                  {59, 82, 139},
                                                  {44, 114, 142},
                                                  {33, 145, 140},
                                                  {40, 174, 128},
                                                  {94, 201, 98},
                                                  {173, 220, 48},
                                                  {253, 231, 37}}};
  const double clamped = std::clamp(std::isnan(t) ? 0.0 : t, 0.0, 1.0);
  const auto index = std::min<std::size_t>(static_cast<std::size_t>(clamped * 8), 7);
  const double part = clamped * 8 - static_cast<double>(index);
  Rgb color{};
  for (std::size_t c = 0; c < 3; ++c) {
    color[c] = static_cast<std::uint8_t>(
        std::lround(kPoints[index][c] * (1 - part) + kPoints[index + 1][c] * part));
  }
  return color;
}

void draw_heatmap(Canvas& canvas, const Overlap& overlap, const std::vector<Pattern>& targets,
                  double top, const LayerNumbers& numbers) {
  const Plot plot = heatmap_area(top);
  const double cell = (plot.right - plot.left) / static_cast<double>(overlap.layers);
  canvas.grid(plot.left, plot.top, cell, cell, heat_cells(overlap));
  draw_blocks(canvas, plot, cell, overlap, numbers);
  for (std::size_t t = 0; t < targets.size(); ++t) {
    canvas.begin_group(t + 1 == targets.size() ? "target on" : "target",
                       fmt::format("data-target=\"{}\"", t));
    draw_donors(canvas, plot, cell, targets[t]);
    canvas.end_group();
  }
  draw_matrix_axes(canvas, plot, overlap.layers, "layer", "layer", numbers);
  draw_color_bar(canvas, plot.bottom + 48);
}

Image draw_heatmap(const Overlap& overlap, const std::string& title, const LayerNumbers& numbers) {
  Raster raster(kHeatmapWidth, kHeading + kHeatmapHeight, kPixelsPerUnit);
  raster.text(kMarginLeft, 18, title, "note");
  raster.text(kMarginLeft, 36, "overlap of top-k sets, mean over queries", "tick");
  draw_heatmap(raster, overlap, {}, kHeading, numbers);
  return raster.image();
}

}  // namespace indexcache
