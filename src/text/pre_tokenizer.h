// SPDX-License-Identifier: Apache-2.0
// Cuts text into the pieces that byte-pair encoding works on: the "pre_tokenizer" of
// tokenizer.json.
#pragma once

#include "text/regex.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// What becomes of a delimiter: the names are those of the format.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// One "Split": matches of the pattern are delimiters; inverted, what lies between them is.
struct Split {
  Regex pattern;
  SplitBehavior behavior;
  bool invert;
};

// The "ByteLevel" at the end. Mapping bytes to characters is the vocabulary's affair
// (byte_level.h).
struct ByteLevel {
  bool add_prefix_space = false;  // a piece that does not begin with a space gets one
  bool use_regex = false;         // cut once more, as GPT-2 does
};

class PreTokenizer {
 public:
  PreTokenizer(std::vector<Split> splits, const ByteLevel& byte_level);

  struct Scratch {
    Regex::Scratch regex;
    std::vector<Span> pieces;
    std::vector<Span> next;
    std::vector<Span> matches;
    std::string prefixed;
  };

  // Pieces in order, never empty, and the text that they are of: the one given, or one with prefix
  // spaces in the scratch. Valid until the next call.
  struct Pieces {
    std::string_view text;
    const std::vector<Span>& spans;
  };

  // Each split sees one piece of the split before it, as if nothing stood around it.
  Pieces cut(std::string_view text, Scratch& scratch) const;

 private:
  void apply(const Split& split, std::string_view text, Scratch& scratch) const;
  std::string_view prefix_spaces(std::string_view text, Scratch& scratch) const;

  std::vector<Split> splits_;
  bool add_prefix_space_;
  std::optional<Split> gpt2_;
};

// GPT-2's pattern, that of ByteLevel with use_regex.
Split gpt2_split();

}  // namespace indexcache
