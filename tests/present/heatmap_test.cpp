// SPDX-License-Identifier: Apache-2.0
#include "present/heatmap.h"

#include "io/files.h"
#include "present/svg.h"
#include "support/catch.h"
#include "support/files.h"

#include <fmt/format.h>

using namespace indexcache;
using namespace indexcache::test;

namespace {

// Where the matrix lies in the picture, in pixels: 430 units from (40, 48), two pixels per unit.
constexpr std::size_t kLeft = 80;
constexpr std::size_t kTop = 96;
constexpr std::size_t kSide = 860;

// Every pair of layers shares its own part of 1000: no two rows look alike.
Overlap distinct(std::size_t layers) {
  Overlap overlap{layers, 1, {2}, {1000}, {}};
  for (std::size_t i = 0; i < layers; ++i) {
    for (std::size_t j = 0; j < layers; ++j) {
      overlap.counts.push_back(static_cast<std::int64_t>((7 * i + 13 * j) % 1001));
    }
  }
  return overlap;
}

// Layers [0, half) agree with one another, and so do the others.
Overlap two_blocks(std::size_t layers) {
  Overlap overlap{layers, 1, {2}, {1}, {}};
  for (std::size_t i = 0; i < layers; ++i) {
    for (std::size_t j = 0; j < layers; ++j) {
      overlap.counts.push_back(i / (layers / 2) == j / (layers / 2) ? 1 : 0);
    }
  }
  return overlap;
}

Rgb pixel(const Image& image, std::size_t x, std::size_t y) {
  const std::uint8_t* p = image.row(y) + 3 * x;
  return {p[0], p[1], p[2]};
}

// Pixels of a color in [x, x + width) x [y, y + height).
std::size_t count(const Image& image, Rgb color, std::size_t x, std::size_t y, std::size_t width,
                  std::size_t height) {
  std::size_t found = 0;
  for (std::size_t j = y; j < y + height; ++j) {
    for (std::size_t i = x; i < x + width; ++i) found += pixel(image, i, j) == color ? 1 : 0;
  }
  return found;
}

constexpr Rgb kPaper = {255, 255, 255};
constexpr Rgb kBlock = {0xe0, 0x30, 0x1e};
constexpr Rgb kTick = {0x55, 0x5b, 0x63};

}  // namespace

TEST_CASE("viridis runs from dark violet to yellow") {
  CHECK(viridis(0) == Rgb{68, 1, 84});
  CHECK(viridis(1) == Rgb{253, 231, 37});
  CHECK(viridis(-3) == viridis(0));
  CHECK(viridis(7) == viridis(1));
}

TEST_CASE("the middle of every cell has the color of its overlap, at any number of layers") {
  for (const std::size_t layers : {1u, 16u, 47u, 78u, 128u}) {
    const Overlap overlap = distinct(layers);
    const Image image = draw_heatmap(overlap, "model");
    CHECK(image.width() == 960);
    CHECK(image.height() == 1104);
    std::size_t right = 0;
    for (std::size_t i = 0; i < layers; ++i) {
      for (std::size_t j = 0; j < layers; ++j) {
        const Rgb expected = viridis(std::round(overlap.mean(i, j) * 127) / 127);
        const std::size_t x = kLeft + (2 * j + 1) * kSide / (2 * layers);
        const std::size_t y = kTop + (2 * i + 1) * kSide / (2 * layers);
        right += pixel(image, x, y) == expected ? 1 : 0;
      }
    }
    INFO(layers << " layers");
    CHECK(right == layers * layers);
    CHECK(count(image, kPaper, kLeft, kTop, kSide, kSide) == 0);  // no gap between cells
  }
}

TEST_CASE("blocks of layers that agree are framed, and only they") {
  const Image image = draw_heatmap(two_blocks(16), "model");
  const std::size_t half = kSide / 2;
  // A frame of four pixels, half of them outside: along the upper edge of each block.
  CHECK(count(image, kBlock, kLeft, kTop, half, 1) == half);
  CHECK(count(image, kBlock, kLeft + half, kTop + half, half, 1) == half);
  // None around the parts where layers of different blocks meet.
  CHECK(count(image, kBlock, kLeft + half + 4, kTop, half - 8, half - 8) == 0);
  CHECK(count(image, kBlock, kLeft, kTop + half + 4, half - 8, half - 8) == 0);
}

TEST_CASE("both axes are labeled, and the title is written") {
  const auto inked = [](const Image& image) {
    return std::array<std::size_t, 3>{
        count(image, kTick, 0, kTop, kLeft - 1, kSide),             // rows
        count(image, kTick, kLeft, kTop + kSide, kSide, 60),        // columns
        count(image, Rgb{0x1a, 0x1c, 0x20}, kLeft, 0, kSide, 40)};  // title
  };
  const auto few = inked(draw_heatmap(two_blocks(2), "a"));
  const auto many = inked(draw_heatmap(two_blocks(16), "abcdefgh"));
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(few[i] > 0);
    CHECK(many[i] > few[i]);
  }
}

TEST_CASE("SVG and pixels are one drawing, and only it marks donors of targets") {
  const Overlap overlap = two_blocks(4);
  Svg svg(kHeatmapWidth, kHeatmapHeight, "overlap");
  draw_heatmap(svg, overlap, {Pattern::parse("FSFF"), Pattern::parse("FSFS")}, 0);
  const std::string text = svg.inline_text();
  CHECK_THAT(text, Contains("<title>layers 0 to 1 agree</title>"));
  CHECK_THAT(text, Contains("<title>layers 2 to 3 agree</title>"));
  CHECK_THAT(text, Contains("<g class=\"target\" data-target=\"0\">"));
  CHECK_THAT(text, Contains("<g class=\"target on\" data-target=\"1\">"));
  // Layer 3's donor is 2: row 3, column 2 of cells of 107.5 units from (40, 8).
  CHECK_THAT(text, Contains("<rect class=\"donor\" x=\"255\" y=\"330.5\" width=\"107.5\""));
  const Rgb high = viridis(1);
  CHECK_THAT(text, Contains(fmt::format("<path fill=\"#{:02x}{:02x}{:02x}\" d=\"M0 0h1v1h-1z",
                                        high[0], high[1], high[2])));
}

TEST_CASE("the same picture gives the same file") {
  const TempFolder folder;
  write_png(folder / "a.png", draw_heatmap(two_blocks(16), "name with ünïcode and <tags>"));
  write_png(folder / "b.png", draw_heatmap(two_blocks(16), "name with ünïcode and <tags>"));
  CHECK(read_file(folder / "a.png") == read_file(folder / "b.png"));
  CHECK(read_file(folder / "a.png").substr(1, 3) == "PNG");
  write_png(folder / "c.png", draw_heatmap(two_blocks(16), "another name"));
  CHECK(read_file(folder / "a.png") != read_file(folder / "c.png"));
}
