// SPDX-License-Identifier: Apache-2.0
// The tokenizer of a checkpoint, as its tokenizer.json defines it: byte-level BPE, the kind of
// DeepSeek-V3.2, GLM-5 and their relatives. Ids equal those of Hugging Face tokenizers
// (tests/text/tokenizer_test.cpp).
//
// Text -> added tokens that are looked for first -> normalizer -> the other added tokens ->
// pre-tokenizer -> BPE. What the file asks for beyond what docs/calibration.md lists is refused.
#pragma once

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

// What tokenizer.json says, checked.
struct TokenizerDefinition {
  TokenMap vocabulary;  // bytes -> id
  std::vector<Bpe::Merge> merges;
  bool ignore_merges = false;
  bool nfc = false;
  std::vector<AddedToken> added;
  std::vector<Split> splits;
  ByteLevel byte_level;
  // What the post-processor puts around a text (TemplateProcessing); may be empty.
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
  // Text of every token by id, bytes; an id that no token has is empty.
  std::vector<std::string> tokens;
  std::string sha256;  // of the file
};

// Throws InputError naming file and key for what is malformed or not supported.
TokenizerDefinition read_tokenizer_json(const std::filesystem::path& path);
TokenizerDefinition parse_tokenizer_json(std::string_view text, const std::string& where);

class Tokenizer {
 public:
  explicit Tokenizer(TokenizerDefinition definition);

  // `path` is a tokenizer.json or a folder that holds one.
  static Tokenizer open(const std::filesystem::path& path);

  // What a thread reuses between calls.
  struct Scratch {
    PreTokenizer::Scratch pre;
    Bpe::Scratch bpe;
    std::vector<TextPiece> pieces;
    std::vector<TextPiece> inner;
  };

  // Appends the ids of `text`, without what the post-processor adds. Special tokens that are
  // written out in the text become their ids, as in Hugging Face tokenizers. Throws InputError
  // naming the byte when the text is not UTF-8.
  void encode(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const;

  // The bytes of the tokens, special ones included; ids that no token has are left out. Gives back
  // the text that was encoded, unless the tokenizer normalizes, prefixes spaces or strips them.
  std::string decode(std::span<const TokenId> ids) const;

  // The added token of this content, or nullopt.
  std::optional<TokenId> added_token(std::string_view content) const;
  bool is_special(TokenId id) const;

  const std::vector<TokenId>& prefix() const { return prefix_; }
  const std::vector<TokenId>& suffix() const { return suffix_; }
  TokenId largest_id() const { return static_cast<TokenId>(tokens_.size()) - 1; }
  const std::string& sha256() const { return sha256_; }

 private:
  void encode_plain(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const;
  void encode_pieces(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const;

  Bpe bpe_;
  PreTokenizer pre_tokenizer_;
  AddedTokenFinder first_;   // looked for in the text as it is
  AddedTokenFinder second_;  // looked for after normalizing
  bool nfc_;
  std::vector<AddedToken> added_;
  std::vector<bool> special_;  // by id
  std::vector<TokenId> prefix_;
  std::vector<TokenId> suffix_;
  std::vector<std::string> tokens_;
  std::string sha256_;
};

}  // namespace indexcache
