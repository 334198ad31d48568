// SPDX-License-Identifier: Apache-2.0
#include "present/heatmap.h"

#include "present/bitmap_font.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace indexcache {
namespace {

constexpr Rgb kWhite = {255, 255, 255};
constexpr Rgb kInk = {32, 32, 32};
constexpr Rgb kBlock = {220, 30, 30};
constexpr std::ptrdiff_t kMargin = 24;
constexpr std::ptrdiff_t kBarWidth = 24;
constexpr int kScale = 2;

// Where things stand, in pixels.
struct Frame {
  std::ptrdiff_t cell;  // side of one matrix cell
  std::ptrdiff_t left;  // of the matrix
  std::ptrdiff_t top;
  std::ptrdiff_t side;  // of the matrix
  std::size_t tick;     // layers between labels

  std::ptrdiff_t at(std::size_t layer) const { return static_cast<std::ptrdiff_t>(layer) * cell; }
};

Frame layout(std::size_t layers) {
  Frame frame{};
  frame.cell = std::clamp<std::ptrdiff_t>(900 / static_cast<std::ptrdiff_t>(layers), 10, 40);
  frame.left = kMargin + text_height(kScale) + 12 + text_width("000", kScale) + 8;
  frame.top = kMargin + 2 * text_height(kScale) + 24;
  frame.side = frame.at(layers);
  frame.tick = 1;
  for (std::size_t tick : {1, 2, 5, 10, 20, 50}) {
    frame.tick = tick;
    if (static_cast<std::ptrdiff_t>(tick) * frame.cell >= text_width("000", kScale)) break;
  }
  return frame;
}

void draw_cells(Image& image, const Frame& frame, const Overlap& overlap) {
  for (std::size_t i = 0; i < overlap.layers; ++i) {
    for (std::size_t j = 0; j < overlap.layers; ++j) {
      image.fill(frame.left + frame.at(j), frame.top + frame.at(i), frame.cell, frame.cell,
                 viridis(overlap.mean(i, j)));
    }
  }
  image.frame(frame.left - 1, frame.top - 1, frame.side + 2, frame.side + 2, 1, kInk);
}

void draw_blocks(Image& image, const Frame& frame, const Overlap& overlap) {
  const std::ptrdiff_t thickness = frame.cell >= 20 ? 3 : 2;
  for (const OverlapBlock& block : find_blocks(overlap)) {
    const std::ptrdiff_t side = frame.at(block.last - block.first + 1);
    image.frame(frame.left + frame.at(block.first), frame.top + frame.at(block.first), side, side,
                thickness, kBlock);
  }
}

void draw_axes(Image& image, const Frame& frame, std::size_t layers) {
  const std::ptrdiff_t bottom = frame.top + frame.side;
  for (std::size_t layer = 0; layer < layers; layer += frame.tick) {
    const std::string label = fmt::format("{}", layer);
    const std::ptrdiff_t center = frame.at(layer) + frame.cell / 2;
    image.fill(frame.left + center, bottom + 1, 1, 5, kInk);
    image.fill(frame.left - 6, frame.top + center, 5, 1, kInk);
    const std::ptrdiff_t width = text_width(label, kScale) - kScale;
    draw_text(image, frame.left + center - width / 2, bottom + 10, label, kScale, kInk);
    draw_text(image, frame.left - 10 - width, frame.top + center - text_height(kScale) / 2, label,
              kScale, kInk);
  }
  const std::ptrdiff_t width = text_width("layer", kScale);
  draw_text(image, frame.left + (frame.side - width) / 2, bottom + 18 + text_height(kScale),
            "layer", kScale, kInk);
  draw_text_upwards(image, kMargin, frame.top + (frame.side + width) / 2, "layer", kScale, kInk);
}

void draw_color_bar(Image& image, const Frame& frame) {
  const std::ptrdiff_t left = frame.left + frame.side + kMargin;
  for (std::ptrdiff_t y = 0; y < frame.side; ++y) {
    const double t = 1.0 - static_cast<double>(y) / static_cast<double>(frame.side - 1);
    image.fill(left, frame.top + y, kBarWidth, 1, viridis(t));
  }
  image.frame(left - 1, frame.top - 1, kBarWidth + 2, frame.side + 2, 1, kInk);
  for (int tenth = 0; tenth <= 10; tenth += 2) {
    const std::ptrdiff_t y = frame.top + (frame.side - 1) * (10 - tenth) / 10;
    image.fill(left + kBarWidth + 1, y, 5, 1, kInk);
    draw_text(image, left + kBarWidth + 10, y - text_height(kScale) / 2,
              fmt::format("{:.1f}", tenth / 10.0), kScale, kInk);
  }
}

}  // namespace

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

Image draw_heatmap(const Overlap& overlap, const std::string& title) {
  const Frame frame = layout(overlap.layers);
  const std::string heading = "overlap of top-k sets, mean over queries";
  const std::ptrdiff_t bar = kMargin + kBarWidth + 10 + text_width("0.0", kScale) + kMargin;
  const std::ptrdiff_t width =
      std::max(frame.left + frame.side + bar, frame.left + text_width(heading, kScale) + kMargin);
  const std::ptrdiff_t height = frame.top + frame.side + 2 * text_height(kScale) + 26 + kMargin;
  Image image(static_cast<std::size_t>(width), static_cast<std::size_t>(height), kWhite);
  const auto room = static_cast<std::size_t>((width - frame.left) / text_width("0", kScale));
  draw_text(image, frame.left, kMargin, title.substr(0, room), kScale, kInk);
  draw_text(image, frame.left, kMargin + text_height(kScale) + 8, heading, kScale, kInk);
  draw_cells(image, frame, overlap);
  draw_blocks(image, frame, overlap);
  draw_axes(image, frame, overlap.layers);
  draw_color_bar(image, frame);
  return image;
}

}  // namespace indexcache
