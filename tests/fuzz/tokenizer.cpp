// SPDX-License-Identifier: Apache-2.0
// tokenizer.json; what is accepted must encode, and what it encodes be within its ids.
#include "text/tokenizer.h"

#include "fuzz/target.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    const indexcache::Tokenizer tokenizer(indexcache::parse_tokenizer_json(text, "x"));
    indexcache::Tokenizer::Scratch scratch;
    std::vector<indexcache::TokenId> ids;
    tokenizer.encode("It's 2024: <|end|> f\xc3\xbcr\n\n  a\tb", scratch, ids);
    for (const indexcache::TokenId id : ids) {
      if (id < 0 || id > tokenizer.largest_id()) __builtin_trap();
    }
    tokenizer.decode(ids);
  });
}
