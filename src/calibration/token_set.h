// SPDX-License-Identifier: Apache-2.0
// Token sequences that losses are measured on.
#pragma once

#include "io/files.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

struct TokenSet {
  std::string source;  // file the tokens came from
  std::vector<std::vector<std::int32_t>> sequences;
  // Sequences that share a document have the same number; empty: none do.
  std::vector<std::size_t> groups = {};

  std::int64_t tokens() const;
  std::int64_t longest() const;
  // Predicted tokens of every sequence: its length - 1.
  std::vector<double> predicted() const;

  // SHA-256 over lengths and ids: equal for equal tokens, whatever file they came in.
  std::string fingerprint() const;
};

// The ids of a fingerprint, one sequence after the other.
class TokenHasher {
 public:
  void add(const std::vector<std::int32_t>& sequence);
  std::string hex() { return hash_.hex(); }

 private:
  Sha256 hash_;
};

// What a model demands of a sequence.
struct TokenLimits {
  std::int64_t vocabulary;
  std::int64_t max_positions;
  std::int64_t index_topk;
  std::int64_t first_selecting_position;  // which has more than index_topk candidates
};

// Throws InputError when an id is outside the vocabulary, a sequence is longer than the model's
// positions or too short to predict anything, or no sequence has a position that selects (every
// pattern would have the same loss). Returns warnings about sequences that tell little.
std::vector<std::string> check_tokens(const TokenSet& set, const TokenLimits& limits);

// The part of it that lengths decide; `source` names them in errors.
std::vector<std::string> check_lengths(const std::vector<std::int64_t>& lengths,
                                       const std::string& source, const TokenLimits& limits);

// The sequences of which `chosen` is `value`.
TokenSet subset(const TokenSet& set, const std::vector<bool>& chosen, bool value);

// Splits off about fraction * sequences of them, evenly spaced: {search, held out}. Sequences that
// share a document stay together, and at least one group stays on either side; throws InputError
// when there is only one.
std::pair<TokenSet, TokenSet> split_holdout(const TokenSet& set, double fraction);

}  // namespace indexcache
