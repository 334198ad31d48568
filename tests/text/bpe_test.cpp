// SPDX-License-Identifier: Apache-2.0
#include "text/bpe.h"

#include "support/catch.h"
#include "support/random.h"

#include <map>
#include <random>
#include <set>

using namespace indexcache;

namespace {

// The definition, a pair at a time.
std::vector<TokenId> by_definition(std::string_view bytes, const std::vector<Bpe::Merge>& merges) {
  std::vector<TokenId> ids;
  for (const char byte : bytes) ids.push_back(static_cast<unsigned char>(byte));
  while (true) {
    for (std::size_t rank = 0;; ++rank) {
      if (rank == merges.size()) return ids;
      std::size_t at = 0;
      while (at + 1 < ids.size() &&
             !(ids[at] == merges[rank].left && ids[at + 1] == merges[rank].right)) {
        ++at;
      }
      if (at + 1 >= ids.size()) continue;
      ids[at] = merges[rank].merged;
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
      break;
    }
  }
}

struct Example {
  TokenMap vocabulary;
  std::vector<Bpe::Merge> merges;
};

// Random merges over few letters: many ties and overlaps.
Example random_example(std::mt19937& engine) {
  Example example;
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.emplace_back(1, static_cast<char>(byte));
    example.vocabulary.emplace(tokens.back(), byte);
  }
  std::vector<TokenId> parts{'a', 'b', 'c'};
  for (int merge = 0; merge < 40; ++merge) {
    const TokenId left = parts[engine() % parts.size()];
    const TokenId right = parts[engine() % parts.size()];
    const std::string both =
        tokens[static_cast<std::size_t>(left)] + tokens[static_cast<std::size_t>(right)];
    if (both.size() > 9 || example.vocabulary.contains(both)) continue;
    const auto id = static_cast<TokenId>(tokens.size());
    tokens.push_back(both);
    example.vocabulary.emplace(both, id);
    example.merges.push_back({left, right, id});
    parts.push_back(id);
  }
  return example;
}

}  // namespace

TEST_CASE("short and long pre-tokens, new and seen ones, merge as the definition says") {
  std::mt19937 engine(3);
  for (int round = 0; round < 40; ++round) {
    const Example example = random_example(engine);
    const Bpe bpe(example.vocabulary, example.merges, false);
    Bpe::Scratch scratch;
    for (int word = 0; word < 60; ++word) {
      std::string bytes(1 + engine() % 120, 'a');
      const unsigned letters = 1 + engine() % 3;
      for (char& byte : bytes) byte = static_cast<char>('a' + engine() % letters);
      const auto expected = by_definition(bytes, example.merges);
      for (int again = 0; again < 2; ++again) {
        std::vector<TokenId> ids;
        bpe.encode(bytes, scratch, ids);
        INFO(bytes);
        CHECK(ids == expected);
      }
    }
  }
}

TEST_CASE("with ignore_merges a pre-token that is an entry is that token") {
  TokenMap vocabulary;
  for (int byte = 0; byte < 256; ++byte)
    vocabulary.emplace(std::string(1, static_cast<char>(byte)), byte);
  vocabulary.emplace("abc", 300);
  Bpe::Scratch scratch;
  std::vector<TokenId> ids;
  Bpe(vocabulary, {}, true).encode("abc", scratch, ids);
  CHECK(ids == std::vector<TokenId>{300});
  Bpe::Scratch other;
  ids.clear();
  Bpe(vocabulary, {}, false).encode("abc", other, ids);
  CHECK(ids == std::vector<TokenId>{'a', 'b', 'c'});
}

TEST_CASE("a pre-token of a million bytes is merged in time and to the end") {
  TokenMap vocabulary;
  for (int byte = 0; byte < 256; ++byte)
    vocabulary.emplace(std::string(1, static_cast<char>(byte)), byte);
  std::vector<Bpe::Merge> merges;
  std::string token = "a";
  TokenId id = 'a';
  for (TokenId next = 256; next < 262; ++next) {  // aa, aaaa, … 64
    token += token;
    vocabulary.emplace(token, next);
    merges.push_back({id, id, next});
    id = next;
  }
  Bpe::Scratch scratch;
  std::vector<TokenId> ids;
  Bpe(vocabulary, merges, false).encode(std::string(1 << 20, 'a'), scratch, ids);
  CHECK(ids == std::vector<TokenId>((1 << 20) / 64, 261));
}
