// SPDX-License-Identifier: Apache-2.0
// 8-bit RGB images.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace indexcache {

using Rgb = std::array<std::uint8_t, 3>;

class Image {
 public:
  Image(std::size_t width, std::size_t height, Rgb background);

  std::size_t width() const { return width_; }
  std::size_t height() const { return pixels_.size() / (3 * width_); }
  const std::uint8_t* row(std::size_t y) const { return pixels_.data() + 3 * width_ * y; }

  // Pixels outside the image are ignored.
  void set(std::ptrdiff_t x, std::ptrdiff_t y, Rgb color);
  void fill(std::ptrdiff_t x, std::ptrdiff_t y, std::ptrdiff_t width, std::ptrdiff_t height,
            Rgb color);

  // A rectangle's border of `thickness` pixels, inside its bounds.
  void frame(std::ptrdiff_t x, std::ptrdiff_t y, std::ptrdiff_t width, std::ptrdiff_t height,
             std::ptrdiff_t thickness, Rgb color);

 private:
  std::size_t width_;
  std::vector<std::uint8_t> pixels_;
};

// Replaces `path` atomically. Throws ResourceError when it cannot be written.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace indexcache
