// SPDX-License-Identifier: Apache-2.0
#include "present/heatmap.h"

#include "io/files.h"
#include "support/catch.h"
#include "support/files.h"

using namespace indexcache;
using namespace indexcache::test;

namespace {

Overlap diagonal(std::size_t layers) {
  Overlap overlap{layers, 1, {2}, {1}, std::vector<std::int64_t>(layers * layers, 0)};
  for (std::size_t i = 0; i < layers; ++i) overlap.counts[i * layers + i] = 1;
  return overlap;
}

std::size_t pixels_of(const Image& image, Rgb color) {
  std::size_t count = 0;
  for (std::size_t y = 0; y < image.height(); ++y) {
    for (std::size_t x = 0; x < image.width(); ++x) {
      const std::uint8_t* p = image.row(y) + 3 * x;
      count += p[0] == color[0] && p[1] == color[1] && p[2] == color[2] ? 1 : 0;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("viridis runs from dark violet to yellow") {
  CHECK(viridis(0) == Rgb{68, 1, 84});
  CHECK(viridis(1) == Rgb{253, 231, 37});
  CHECK(viridis(-3) == viridis(0));
  CHECK(viridis(7) == viridis(1));
}

TEST_CASE("cells have the color of their overlap at any number of layers") {
  for (std::size_t layers : {1u, 16u, 47u, 78u}) {
    const Image image = draw_heatmap(diagonal(layers), "model");
    INFO(layers << " layers, " << image.width() << " x " << image.height());
    CHECK(image.width() <= 1200);
    CHECK(image.height() <= 1200);
    const std::size_t cell = layers >= 78 ? 11 : layers == 47 ? 19 : 40;
    CHECK(pixels_of(image, viridis(1)) >= layers * cell * cell);
    CHECK(pixels_of(image, viridis(0)) >= layers * (layers - 1) * cell * cell);
  }
}

TEST_CASE("the same picture gives the same file") {
  const TempFolder folder;
  write_png(folder / "a.png", draw_heatmap(diagonal(16), "name with ünïcode and <tags>"));
  write_png(folder / "b.png", draw_heatmap(diagonal(16), "name with ünïcode and <tags>"));
  CHECK(read_file(folder / "a.png") == read_file(folder / "b.png"));
  CHECK(read_file(folder / "a.png").substr(1, 3) == "PNG");
}
