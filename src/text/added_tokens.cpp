// SPDX-License-Identifier: Apache-2.0
#include "text/added_tokens.h"

#include "core/utf8.h"

#include <algorithm>

namespace indexcache {
namespace {

// \w and \s of Rust's regex crate, which decides single_word, lstrip and rstrip in Hugging Face
// tokenizers. One character each.
constexpr std::string_view kWord = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}]";
constexpr std::string_view kSpace = "\\p{White_Space}";

std::size_t previous_character(std::string_view text, std::size_t at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

bool matches(const Regex& regex, std::string_view text, std::size_t at, Regex::Scratch& scratch) {
  return regex.find(text.substr(at, utf8_length(text, at)), 0, scratch).has_value();
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)),
      word_(kWord, "word characters", Regex::Syntax::pcre),
      space_(kSpace, "white space", Regex::Syntax::pcre) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::ranges::sort(tokens_, {}, &AddedToken::content);
  for (const AddedToken& token : tokens_) {
    first_bytes_[static_cast<unsigned char>(token.content[0])] = true;
  }
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text, std::size_t at) const {
  const std::string_view rest = text.substr(at);
  // Tokens that begin with the first n bytes of `rest` are neighbors in the sorted list.
  const auto* first = tokens_.data();
  const auto* last = first + tokens_.size();
  const AddedToken* longest = nullptr;
  for (std::size_t length = 1; first != last && length <= rest.size(); ++length) {
    const auto byte_of = [&](const AddedToken& token) {
      return token.content.size() < length ? -1
                                           : static_cast<unsigned char>(token.content[length - 1]);
    };
    const int byte = static_cast<unsigned char>(rest[length - 1]);
    first = std::ranges::lower_bound(first, last, byte, {}, byte_of);
    last = std::ranges::upper_bound(first, last, byte, {}, byte_of);
    if (first != last && first->content.size() == length) longest = first;
  }
  return longest;
}

bool AddedTokenFinder::touches_word(std::string_view text, const Span& span,
                                    Regex::Scratch& scratch) const {
  const bool before =
      span.begin > 0 && matches(word_, text, previous_character(text, span.begin), scratch);
  return before || (span.end < text.size() && matches(word_, text, span.end, scratch));
}

void AddedTokenFinder::cut(std::string_view text, Regex::Scratch& scratch,
                           std::vector<TextPiece>& pieces) const {
  std::size_t done = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    if (!first_bytes_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const AddedToken* token = longest_at(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    Span span{at, at + token->content.size()};
    at = span.end;  // what a token takes on its right may still hold the next one
    if (token->single_word && touches_word(text, span, scratch)) continue;
    while (token->lstrip && span.begin > done) {
      const std::size_t previous = previous_character(text, span.begin);
      if (!matches(space_, text, previous, scratch)) break;
      span.begin = previous;
    }
    while (token->rstrip && span.end < text.size() && matches(space_, text, span.end, scratch)) {
      span.end += utf8_length(text, span.end);
    }
    if (done < span.begin) pieces.push_back({-1, {done, span.begin}});
    pieces.push_back({token->id, span});
    done = span.end;
  }
  if (done < text.size()) pieces.push_back({-1, {done, text.size()}});
}

}  // namespace indexcache
