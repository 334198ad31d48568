// SPDX-License-Identifier: Apache-2.0
// Losses of every pattern of dsa-mini, measured once: strategies run on a trained model in
// milliseconds, and the best pattern of every size is known.
#pragma once

#include "core/pattern.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace indexcache::test {

class PatternTable {
 public:
  PatternTable();  // reads tests/golden/dsa-mini/all_patterns.h5

  static constexpr std::size_t kLayers = 16;

  std::size_t sequences() const { return sequences_; }
  // Nats per token, to 1e-6; `pattern` begins with F.
  double loss(const Pattern& pattern, std::size_t sequence) const;
  // Mean over the sequences, which are of equal length.
  double mean(const Pattern& pattern) const;

  // The pattern with the smallest mean loss among those with `full` F layers, and that are allowed.
  Pattern best(std::size_t full, const std::function<bool(const Pattern&)>& allowed = {}) const;

 private:
  std::size_t sequences_;
  std::vector<std::int64_t> losses_;  // [2^15][sequences] in 1e-7 nats per token
};

}  // namespace indexcache::test
