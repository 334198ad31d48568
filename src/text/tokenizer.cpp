// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include "core/error.h"
#include "core/quote.h"
#include "core/utf8.h"
#include "io/hub_cache.h"
#include "text/normalizer.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

std::vector<AddedToken> those(const std::vector<AddedToken>& tokens, bool normalized, bool nfc) {
  std::vector<AddedToken> chosen;
  for (AddedToken token : tokens) {
    if (token.normalized != normalized) continue;
    if (normalized && nfc) token.content = normalize_nfc(token.content);
    chosen.push_back(std::move(token));
  }
  return chosen;
}

std::vector<bool> special_ids(const std::vector<AddedToken>& tokens, std::size_t count) {
  std::vector<bool> special(count, false);
  for (const AddedToken& token : tokens) {
    special[static_cast<std::size_t>(token.id)] = token.special;
  }
  return special;
}

}  // namespace

Tokenizer::Tokenizer(TokenizerDefinition definition)
    : bpe_(std::move(definition.vocabulary), definition.merges, definition.ignore_merges),
      pre_tokenizer_(std::move(definition.splits), definition.byte_level),
      first_(those(definition.added, false, definition.nfc)),
      second_(those(definition.added, true, definition.nfc)),
      nfc_(definition.nfc),
      added_(std::move(definition.added)),
      special_(special_ids(added_, definition.tokens.size())),
      prefix_(std::move(definition.prefix)),
      suffix_(std::move(definition.suffix)),
      tokens_(std::move(definition.tokens)),
      sha256_(std::move(definition.sha256)) {
  std::ranges::sort(added_, {}, &AddedToken::content);
}

Tokenizer Tokenizer::open(const std::filesystem::path& path) {
  const bool folder = std::filesystem::is_directory(path);
  const std::filesystem::path file = folder ? model_folder(path) / "tokenizer.json" : path;
  if (!std::filesystem::exists(std::filesystem::symlink_status(file))) {
    throw InputError({"the tokenizer was not found", file.string(),
                      folder ? "the folder contains no tokenizer.json" : "the file does not exist",
                      "--tokenizer FILE: the tokenizer.json that belongs to the model"});
  }
  return Tokenizer(read_tokenizer_json(file));
}

void Tokenizer::encode(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const {
  if (const auto invalid = find_invalid_utf8(text)) {
    throw InputError(
        {"a text is not valid UTF-8", "",
         fmt::format("byte {} is 0x{:02x}, near {}", *invalid,
                     static_cast<unsigned char>(text[*invalid]), quote(text, *invalid)),
         "convert it to UTF-8, for example with iconv"});
  }
  scratch.pieces.clear();
  first_.cut(text, scratch.pre.regex, scratch.pieces);
  for (const TextPiece& piece : scratch.pieces) {
    if (piece.token >= 0) {
      ids.push_back(piece.token);
      continue;
    }
    const auto part = text.substr(piece.span.begin, piece.span.end - piece.span.begin);
    if (nfc_) {
      encode_plain(normalize_nfc(part), scratch, ids);
    } else {
      encode_plain(part, scratch, ids);
    }
  }
}

void Tokenizer::encode_plain(std::string_view text, Scratch& scratch,
                             std::vector<TokenId>& ids) const {
  scratch.inner.clear();
  second_.cut(text, scratch.pre.regex, scratch.inner);
  for (const TextPiece& piece : scratch.inner) {
    if (piece.token >= 0) {
      ids.push_back(piece.token);
    } else {
      encode_pieces(text.substr(piece.span.begin, piece.span.end - piece.span.begin), scratch, ids);
    }
  }
}

void Tokenizer::encode_pieces(std::string_view text, Scratch& scratch,
                              std::vector<TokenId>& ids) const {
  const PreTokenizer::Pieces pieces = pre_tokenizer_.cut(text, scratch.pre);
  for (const Span& span : pieces.spans) {
    bpe_.encode(pieces.text.substr(span.begin, span.end - span.begin), scratch.bpe, ids);
  }
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  std::string text;
  for (const TokenId id : ids) {
    if (id >= 0 && id <= largest_id()) text += tokens_[static_cast<std::size_t>(id)];
  }
  return text;
}

std::optional<TokenId> Tokenizer::added_token(std::string_view content) const {
  const auto found = std::ranges::lower_bound(added_, content, {}, &AddedToken::content);
  if (found == added_.end() || found->content != content) return std::nullopt;
  return found->id;
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && id <= largest_id() && special_[static_cast<std::size_t>(id)];
}

}  // namespace indexcache
