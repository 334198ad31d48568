// SPDX-License-Identifier: Apache-2.0
// A 5 x 7 pixel font for labels in images: no font file is needed at run time.
#pragma once

#include "io/png.h"

#include <cstddef>
#include <string_view>

namespace indexcache {

// Pixels that `text` takes at `scale`: 6 x 7 per character, the last column being space.
std::ptrdiff_t text_width(std::string_view text, int scale);
std::ptrdiff_t text_height(int scale);

// Draws with the upper left corner at (x, y). Letters have one case; characters without a glyph
// are drawn as a box.
void draw_text(Image& image, std::ptrdiff_t x, std::ptrdiff_t y, std::string_view text, int scale,
               Rgb color);

// The same, turned a quarter to the left: it reads upwards from (x, y), its lower left corner.
void draw_text_upwards(Image& image, std::ptrdiff_t x, std::ptrdiff_t y, std::string_view text,
                       int scale, Rgb color);

}  // namespace indexcache
