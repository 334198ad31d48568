// SPDX-License-Identifier: Apache-2.0
#include "io/png.h"

#include "core/error.h"
#include "io/files.h"

#include <png.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace indexcache {

Image::Image(std::size_t width, std::size_t height, Rgb background)
    : width_(width), pixels_(3 * width * height) {
  for (std::size_t i = 0; i < pixels_.size(); ++i) pixels_[i] = background[i % 3];
}

void Image::set(std::ptrdiff_t x, std::ptrdiff_t y, Rgb color) {
  if (x < 0 || y < 0 || x >= static_cast<std::ptrdiff_t>(width_) ||
      y >= static_cast<std::ptrdiff_t>(height())) {
    return;
  }
  std::ranges::copy(color, pixels_.begin() + 3 * (y * static_cast<std::ptrdiff_t>(width_) + x));
}

void Image::fill(std::ptrdiff_t x, std::ptrdiff_t y, std::ptrdiff_t width, std::ptrdiff_t height,
                 Rgb color) {
  for (std::ptrdiff_t j = y; j < y + height; ++j) {
    for (std::ptrdiff_t i = x; i < x + width; ++i) set(i, j, color);
  }
}

void Image::frame(std::ptrdiff_t x, std::ptrdiff_t y, std::ptrdiff_t width, std::ptrdiff_t height,
                  std::ptrdiff_t thickness, Rgb color) {
  fill(x, y, width, thickness, color);
  fill(x, y + height - thickness, width, thickness, color);
  fill(x, y, thickness, height, color);
  fill(x + width - thickness, y, thickness, height, color);
}

void write_png(const std::filesystem::path& path, const Image& image) {
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(image.width());
  header.height = static_cast<png_uint_32>(image.height());
  header.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(header);
  std::string content(size, '\0');
  if (png_image_write_to_memory(&header, content.data(), &size, 0, image.row(0), 0, nullptr) == 0) {
    throw InternalError({"cannot encode an image", path.string(), header.message, ""});
  }
  write_file(path, std::string_view(content).substr(0, size));
}

}  // namespace indexcache
