// SPDX-License-Identifier: Apache-2.0
#include "support/pattern_table.h"

#include "io/hdf5.h"
#include "support/files.h"

#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

namespace indexcache::test {
namespace {

// Layer i >= 1 is S where bit i - 1 is set.
Pattern pattern_of(std::size_t row) {
  std::string text(PatternTable::kLayers, 'F');
  for (std::size_t layer = 1; layer < text.size(); ++layer) {
    if ((row >> (layer - 1) & 1) != 0) text[layer] = 'S';
  }
  return Pattern::parse(text);
}

std::size_t row_of(const Pattern& pattern) {
  if (pattern.layers() != PatternTable::kLayers) throw std::out_of_range(pattern.text());
  std::size_t row = 0;
  for (std::size_t layer = 1; layer < pattern.layers(); ++layer) {
    if (!pattern.is_full(layer)) row |= std::size_t{1} << (layer - 1);
  }
  return row;
}

}  // namespace

PatternTable::PatternTable() {
  IntegerDataset stored = Hdf5Reader(golden("dsa-mini/all_patterns.h5")).integers("/losses");
  if (stored.shape[0] != 1 << (kLayers - 1)) throw std::runtime_error("not all patterns");
  sequences_ = static_cast<std::size_t>(stored.shape[1]);
  losses_ = std::move(stored.values);
}

double PatternTable::loss(const Pattern& pattern, std::size_t sequence) const {
  return static_cast<double>(losses_[row_of(pattern) * sequences_ + sequence]) * 1e-6;
}

double PatternTable::mean(const Pattern& pattern) const {
  double sum = 0;
  for (std::size_t s = 0; s < sequences_; ++s) sum += loss(pattern, s);
  return sum / static_cast<double>(sequences_);
}

Pattern PatternTable::best(std::size_t full,
                           const std::function<bool(const Pattern&)>& allowed) const {
  std::size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t row = 0; row < losses_.size() / sequences_; ++row) {
    if (kLayers - static_cast<std::size_t>(std::popcount(row)) != full) continue;
    if (allowed && !allowed(pattern_of(row))) continue;
    const double loss = mean(pattern_of(row));
    if (loss < least) least = loss, best = row;
  }
  return pattern_of(best);
}

}  // namespace indexcache::test
