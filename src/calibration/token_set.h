// SPDX-License-Identifier: Apache-2.0
// Token sequences that losses are measured on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

struct TokenSet {
  std::string source;  // file the tokens came from
  std::vector<std::vector<std::int32_t>> sequences;

  std::int64_t tokens() const;
  std::int64_t longest() const;

  // SHA-256 over lengths and ids: equal for equal tokens, whatever file they came in.
  std::string fingerprint() const;
};

// By file name:
//   .h5, .hdf5  dataset /tokens (integers, [sequences, length]), optional /lengths [sequences]
//   .jsonl      one object a line with "input_ids", a list of integers
// Throws InputError with file, line or sequence for anything malformed, and for an empty set.
TokenSet read_tokens(const std::filesystem::path& path);

// What a model demands of a sequence.
struct TokenLimits {
  std::int64_t vocabulary;
  std::int64_t max_positions;
  std::int64_t index_topk;
};

// Throws InputError when an id is outside the vocabulary, a sequence is longer than the model's
// positions or too short to predict anything, or no sequence is longer than index_topk (every
// pattern would have the same loss). Returns warnings about sequences that tell little.
std::vector<std::string> check_tokens(const TokenSet& set, const TokenLimits& limits);

// Splits off round(fraction * sequences) of them, evenly spaced: {search, held out}. At least one
// stays on either side; throws InputError when there is only one sequence.
std::pair<TokenSet, TokenSet> split_holdout(const TokenSet& set, double fraction);

}  // namespace indexcache
