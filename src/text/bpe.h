// SPDX-License-Identifier: Apache-2.0
// Byte-level byte-pair encoding: bytes of one pre-token -> token ids.
//
// The adjacent pair of lowest rank is merged, the leftmost first among equals, until no pair of
// neighbors has a rank (Sennrich et al., arXiv 1508.07909; the order of ties is that of Hugging
// Face tokenizers).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace indexcache {

using TokenId = std::int32_t;

// Lets a map of strings be asked with a view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};
using TokenMap = std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>>;

class Bpe {
 public:
  struct Merge {
    TokenId left;
    TokenId right;
    TokenId merged;
  };

  // `vocabulary` maps bytes to ids and holds every single byte that UTF-8 can contain; `merges`
  // stand in the order of their ranks. With `ignore_merges` a pre-token that is itself an entry is
  // that one token.
  Bpe(TokenMap vocabulary, const std::vector<Merge>& merges, bool ignore_merges);

  // What a thread reuses between calls: pre-tokens it has seen and buffers.
  class Scratch {
    friend class Bpe;

    struct Symbol {
      TokenId id;
      std::int32_t previous;
      std::int32_t next;
    };
    struct Candidate {
      std::int32_t rank;
      std::int32_t left;
      TokenId left_id;
      TokenId right_id;
      bool operator<(const Candidate& other) const {  // for a heap with the smallest on top
        return rank != other.rank ? rank > other.rank : left > other.left;
      }
    };

    std::unordered_map<std::string, std::vector<TokenId>, StringHash, std::equal_to<>> seen_;
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
  };

  // Appends the ids of one pre-token.
  void encode(std::string_view bytes, Scratch& scratch, std::vector<TokenId>& ids) const;

 private:
  struct Merged {
    std::int32_t rank;
    TokenId id;
  };

  const Merged* merged(TokenId left, TokenId right) const;
  void merge(std::string_view bytes, Scratch& scratch, std::vector<TokenId>& ids) const;
  void merge_short(std::string_view bytes, std::vector<TokenId>& ids) const;
  void merge_long(std::string_view bytes, Scratch& scratch, std::vector<TokenId>& ids) const;

  // A hash table with open addressing: the one lookup that every byte of new text costs.
  struct Slot {
    std::uint64_t pair;
    Merged merged;
  };

  TokenMap vocabulary_;
  std::array<TokenId, 256> byte_ids_{};
  std::vector<Slot> slots_;
  std::size_t mask_ = 0;
  bool ignore_merges_;
};

}  // namespace indexcache
