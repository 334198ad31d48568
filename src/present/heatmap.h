// SPDX-License-Identifier: Apache-2.0
// The cross-layer overlap as a picture: viridis from 0 to 1, layer numbers on both axes, a color
// bar, and a frame around every block of layers that agree.
#pragma once

#include "io/png.h"
#include "search/overlap.h"

#include <filesystem>
#include <string>

namespace indexcache {

// viridis at t, clamped to [0, 1].
Rgb viridis(double t);

Image draw_heatmap(const Overlap& overlap, const std::string& title);

}  // namespace indexcache
