// SPDX-License-Identifier: Apache-2.0
// How the lightning indexer chooses its tokens: exactly, or hierarchically (HISA, arXiv
// 2603.28458), which looks for them only in the best blocks of keys (docs/numerics.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace indexcache {

struct Hisa {
  std::int64_t block = 128;  // consecutive keys that are chosen together
  std::int64_t blocks = 64;  // chosen of them per query, the first and the last one included

  bool operator==(const Hisa&) const = default;

  // Blocks that hold `candidates` keys; the last one may be incomplete.
  std::int64_t blocks_of(std::int64_t candidates) const { return (candidates + block - 1) / block; }
  // Whether every block is chosen of so many keys: the exact indexer selects the same then.
  bool takes_all(std::int64_t candidates) const { return blocks_of(candidates) <= blocks; }
  // Keys among which a query with more blocks selects: the last block may be incomplete.
  std::int64_t keys_of(std::int64_t candidates) const {
    return (blocks - 1) * block + candidates - (blocks_of(candidates) - 1) * block;
  }
};

// Without a value: exact.
using IndexerMethod = std::optional<Hisa>;

// What --indexer is where attention to all earlier tokens can be measured instead (eval, bench).
inline constexpr std::string_view kNoIndexer = "none";

// "exact" or "hisa:block=128,blocks=64", as parse_indexer reads it.
std::string indexer_text(const IndexerMethod& method);

// "exact", "hisa", or "hisa:" and one or both of block=N and blocks=N. Throws UsageError naming
// --indexer and what is wrong; kNoIndexer is no way to select either.
IndexerMethod parse_indexer(std::string_view text);

// About how many pairs of a query and a key or a mean are scored for the queries of a sequence that
// have from `first` to `last` candidates.
double scored_pairs(const IndexerMethod& method, double first, double last);

// Throws UsageError if the chosen blocks of some query could hold less than index_topk keys.
void check_fits(const Hisa& hisa, std::int64_t index_topk);

}  // namespace indexcache
