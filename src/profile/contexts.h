// SPDX-License-Identifier: Apache-2.0
// Which lengths a profile measures if nobody says so.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace indexcache {

// What a model takes.
struct ContextLimits {
  std::int64_t first_selecting;  // sequences of at most this length select all of their tokens
  std::int64_t most;             // longest sequence
};

// Ascending. 10,000 to 200,000 tokens as far as the model takes them; a quarter, a half and all of
// what it takes if that is less than two lengths. With the shortest and longest length of requests:
// those two, and what lies between them from 512 tokens on, so that every request is covered.
std::vector<std::int64_t> default_contexts(
    const ContextLimits& limits,
    std::optional<std::pair<std::int64_t, std::int64_t>> lengths = std::nullopt);

}  // namespace indexcache
