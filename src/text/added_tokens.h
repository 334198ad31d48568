// SPDX-License-Identifier: Apache-2.0
// Tokens that are cut out of the text before anything else looks at it.
#pragma once

#include "text/bpe.h"
#include "text/regex.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// An entry of "added_tokens" in tokenizer.json.
struct AddedToken {
  TokenId id;
  std::string content;
  bool special = false;      // a control token, not a piece of text
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // looked for after the text is normalized, else before
};

// A stretch of text: an added token, or (token < 0) what lies between two of them.
struct TextPiece {
  TokenId token;
  Span span;
};

// Finds some added tokens: the longest at the leftmost place.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  // Appends the pieces of `text` in order; nothing for an empty text.
  void cut(std::string_view text, Regex::Scratch& scratch, std::vector<TextPiece>& pieces) const;

 private:
  const AddedToken* longest_at(std::string_view text, std::size_t at) const;
  bool touches_word(std::string_view text, const Span& span, Regex::Scratch& scratch) const;

  std::vector<AddedToken> tokens_;  // by content
  std::array<bool, 256> first_bytes_{};
  Regex word_;
  Regex space_;
};

}  // namespace indexcache
