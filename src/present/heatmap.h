// SPDX-License-Identifier: Apache-2.0
// The cross-layer overlap as a picture: viridis from 0 to 1, layer numbers on both axes, a color
// bar, a frame around every block of layers that agree, and a mark at each shared layer's donor.
//
// The drawing exists once, over Canvas: report.html takes it as SVG, heatmap.png as pixels.
#pragma once

#include "core/pattern.h"
#include "io/png.h"
#include "present/canvas.h"
#include "present/scale.h"
#include "search/overlap.h"

#include <string>
#include <vector>

namespace indexcache {

// viridis at t, clamped to [0, 1].
Rgb viridis(double t);

// Units that the drawing takes.
inline constexpr double kHeatmapWidth = 480;
inline constexpr double kHeatmapHeight = 512;

// The matrix of a drawing with the upper edge at `top`, without its labels.
Plot heatmap_area(double top);

// Draws with the upper edge at `top`. The donors of each target form a group of class "target"
// (the last one "target on"), numbered by data-target: a page shows one of them, while a canvas
// without a style sheet's `display` shows them all. Axes show the numbers of layers.
void draw_heatmap(Canvas& canvas, const Overlap& overlap, const std::vector<Pattern>& targets,
                  double top, const LayerNumbers& numbers = {});

// heatmap.png: the drawing below `title` and a line that says what is shown.
Image draw_heatmap(const Overlap& overlap, const std::string& title,
                   const LayerNumbers& numbers = {});

}  // namespace indexcache
