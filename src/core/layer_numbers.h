// SPDX-License-Identifier: Apache-2.0
// Which decoder layers the letters of a pattern are, for models in which only some layers have one.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace indexcache {

class LayerNumbers {
 public:
  // Letter i is layer i.
  LayerNumbers() = default;
  // `layers` of the letters, ascending, of a model that has `model_layers`.
  LayerNumbers(std::vector<std::size_t> layers, std::size_t model_layers);

  bool are_all() const { return layers_.empty(); }
  // Empty if every layer has a letter.
  const std::vector<std::size_t>& list() const { return layers_; }

  std::size_t of(std::size_t letter) const { return are_all() ? letter : layers_[letter]; }
  std::vector<std::size_t> of(const std::vector<std::size_t>& letters) const;
  // Decoder layers of a model whose patterns have so many letters.
  std::size_t model_layers(std::size_t letters) const {
    return are_all() ? letters : model_layers_;
  }
  // The letter of a layer; nullopt if it has none.
  std::optional<std::size_t> letter_of(std::size_t layer) const;
  // The first letter at or after each of some layers, each once; none after the last one.
  std::vector<std::size_t> letters_from(const std::vector<std::size_t>& layers) const;

  friend bool operator==(const LayerNumbers&, const LayerNumbers&) = default;

 private:
  std::vector<std::size_t> layers_;
  std::size_t model_layers_ = 0;
};

}  // namespace indexcache
