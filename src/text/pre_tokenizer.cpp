// SPDX-License-Identifier: Apache-2.0
#include "text/pre_tokenizer.h"

#include "core/utf8.h"

#include <algorithm>

namespace indexcache {
namespace {

// A stretch of a piece: a delimiter or what lies between two.
struct Part {
  Span span;
  bool delimiter;
};

// Receives the parts of one piece in order and pushes what the behavior makes of them.
class Joiner {
 public:
  Joiner(SplitBehavior behavior, std::size_t offset, std::vector<Span>& out)
      : behavior_(behavior), offset_(offset), start_(out.size()), out_(out) {}

  void add(const Part& part) {
    if (joins(part)) {
      out_.back().end = offset_ + part.span.end;
    } else if (behavior_ != SplitBehavior::removed || !part.delimiter) {
      out_.push_back({offset_ + part.span.begin, offset_ + part.span.end});
    }
    last_ = part.delimiter ? Last::delimiter : Last::text;
  }

  // Empty parts decide what joins, but are no pieces.
  void finish() {
    const auto first = out_.begin() + static_cast<std::ptrdiff_t>(start_);
    out_.erase(std::remove_if(first, out_.end(), [](const Span& s) { return s.begin == s.end; }),
               out_.end());
  }

 private:
  // Whether the part belongs to the piece before it.
  bool joins(const Part& part) const {
    if (last_ == Last::none) return false;
    const bool after_delimiter = last_ == Last::delimiter;
    switch (behavior_) {
      case SplitBehavior::contiguous:
        return part.delimiter == after_delimiter;
      case SplitBehavior::merged_with_previous:
        return part.delimiter && !after_delimiter;
      case SplitBehavior::merged_with_next:
        return !part.delimiter && after_delimiter;
      default:
        return false;
    }
  }

  SplitBehavior behavior_;
  std::size_t offset_;
  std::size_t start_;
  std::vector<Span>& out_;
  enum class Last { none, delimiter, text } last_ = Last::none;
};

// Matches one after the other. An empty match right behind another match does not count.
void find_all(const Regex& pattern, std::string_view text, Regex::Scratch& scratch,
              std::vector<Span>& matches) {
  matches.clear();
  std::size_t from = 0;
  while (from <= text.size()) {
    const auto match = pattern.find(text, from, scratch);
    if (!match) return;
    const bool empty = match->begin == match->end;
    if (!empty || matches.empty() || matches.back().end != match->end) matches.push_back(*match);
    from = match->end;
    if (empty) from += from < text.size() ? utf8_length(text, from) : 1;
  }
}

void split_piece(const Split& split, std::string_view text, const Span& piece,
                 PreTokenizer::Scratch& scratch) {
  const std::string_view inside = text.substr(piece.begin, piece.end - piece.begin);
  find_all(split.pattern, inside, scratch.regex, scratch.matches);
  Joiner joiner(split.behavior, piece.begin, scratch.next);
  std::size_t done = 0;
  for (const Span& match : scratch.matches) {
    if (done < match.begin) joiner.add({{done, match.begin}, split.invert});
    joiner.add({match, !split.invert});
    done = match.end;
  }
  if (done < inside.size()) joiner.add({{done, inside.size()}, split.invert});
  joiner.finish();
}

}  // namespace

PreTokenizer::PreTokenizer(std::vector<Split> splits, const ByteLevel& byte_level)
    : splits_(std::move(splits)), add_prefix_space_(byte_level.add_prefix_space) {
  if (byte_level.use_regex) gpt2_ = gpt2_split();
}

void PreTokenizer::apply(const Split& split, std::string_view text, Scratch& scratch) const {
  scratch.next.clear();
  for (const Span& piece : scratch.pieces) split_piece(split, text, piece, scratch);
  std::swap(scratch.pieces, scratch.next);
}

std::string_view PreTokenizer::prefix_spaces(std::string_view text, Scratch& scratch) const {
  scratch.prefixed.clear();
  for (Span& piece : scratch.pieces) {
    const std::string_view inside = text.substr(piece.begin, piece.end - piece.begin);
    const std::size_t begin = scratch.prefixed.size();
    if (!inside.starts_with(' ')) scratch.prefixed += ' ';
    scratch.prefixed += inside;
    piece = {begin, scratch.prefixed.size()};
  }
  return scratch.prefixed;
}

PreTokenizer::Pieces PreTokenizer::cut(std::string_view text, Scratch& scratch) const {
  scratch.pieces.clear();
  if (!text.empty()) scratch.pieces.push_back({0, text.size()});
  for (const Split& split : splits_) apply(split, text, scratch);
  if (add_prefix_space_) text = prefix_spaces(text, scratch);
  if (gpt2_) apply(*gpt2_, text, scratch);
  return {text, scratch.pieces};
}

Split gpt2_split() {
  return {
      Regex("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
            "ByteLevel with use_regex"),
      SplitBehavior::isolated, false};
}

}  // namespace indexcache
