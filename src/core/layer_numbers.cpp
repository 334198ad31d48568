// SPDX-License-Identifier: Apache-2.0
#include "core/layer_numbers.h"

#include <algorithm>
#include <utility>

namespace indexcache {

LayerNumbers::LayerNumbers(std::vector<std::size_t> layers, std::size_t model_layers)
    : layers_(std::move(layers)), model_layers_(model_layers) {}

std::vector<std::size_t> LayerNumbers::of(const std::vector<std::size_t>& letters) const {
  std::vector<std::size_t> numbers;
  for (const std::size_t letter : letters) numbers.push_back(of(letter));
  return numbers;
}

std::optional<std::size_t> LayerNumbers::letter_of(std::size_t layer) const {
  if (are_all()) return layer;
  const auto found = std::ranges::lower_bound(layers_, layer);
  if (found == layers_.end() || *found != layer) return std::nullopt;
  return static_cast<std::size_t>(found - layers_.begin());
}

std::vector<std::size_t> LayerNumbers::letters_from(const std::vector<std::size_t>& layers) const {
  if (are_all()) return layers;
  std::vector<std::size_t> letters;
  for (const std::size_t layer : layers) {
    const auto letter =
        static_cast<std::size_t>(std::ranges::lower_bound(layers_, layer) - layers_.begin());
    if (letter < layers_.size()) letters.push_back(letter);
  }
  std::ranges::sort(letters);
  letters.erase(std::unique(letters.begin(), letters.end()), letters.end());
  return letters;
}

}  // namespace indexcache
