// SPDX-License-Identifier: Apache-2.0
#include "core/hisa.h"

#include "core/error.h"
#include "core/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace indexcache {
namespace {

constexpr std::int64_t kMostBlock = std::int64_t{1} << 16;
constexpr std::int64_t kMostBlocks = std::int64_t{1} << 20;

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw UsageError({fmt::format("invalid value for --indexer: {}", quote(text)), "--indexer", why,
                    "exact, hisa, or hisa:block=128,blocks=64"});
}

// "name=N" in [least, most].
std::int64_t number_of(std::string_view text, std::string_view name, std::string_view digits,
                       std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const char* const end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, value);
  if (error == std::errc() && rest == end && value >= least && value <= most) return value;
  refuse(text, fmt::format("{} is a whole number from {} to {}", name, least, most));
}

}  // namespace

std::string indexer_text(const IndexerMethod& method) {
  if (!method) return "exact";
  return fmt::format("hisa:block={},blocks={}", method->block, method->blocks);
}

IndexerMethod parse_indexer(std::string_view text) {
  constexpr std::string_view kName = "hisa";
  if (text == "exact") return std::nullopt;
  if (text == kNoIndexer) {
    throw UsageError({"nothing is selected without an indexer", "--indexer none",
                      "every token attends to all earlier ones then, so there is nothing to search "
                      "or to compare",
                      "--indexer exact, or eval MODEL dense, which measures what that costs"});
  }
  if (!text.starts_with(kName)) refuse(text, "there is no such indexer");
  Hisa hisa;
  std::string_view rest = text.substr(kName.size());
  if (rest.empty()) return hisa;
  if (rest.front() != ':') refuse(text, "there is no such indexer");
  bool has_block = false, has_blocks = false;
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the colon, or a comma
    const std::string_view field = rest.substr(0, rest.find(','));
    rest.remove_prefix(field.size());
    const std::string_view name = field.substr(0, field.find('='));
    const bool is_block = name == "block";
    if (name.size() == field.size() || (!is_block && name != "blocks")) {
      refuse(text, fmt::format("{} is neither block=N nor blocks=N", quote(field)));
    }
    bool& seen = is_block ? has_block : has_blocks;
    if (seen) refuse(text, fmt::format("it states {} twice", name));
    seen = true;
    const std::string_view digits = field.substr(name.size() + 1);
    (is_block ? hisa.block : hisa.blocks) =
        number_of(text, name, digits, is_block ? 1 : 2, is_block ? kMostBlock : kMostBlocks);
  }
  return hisa;
}

double scored_pairs(const IndexerMethod& method, double first, double last) {
  const auto all = [](double from, double to) { return (to * to - from * from) / 2; };
  if (!method) return all(first, last);
  const auto block = static_cast<double>(method->block);
  const double reach = block * static_cast<double>(method->blocks);
  const double turn = std::clamp(reach, first, last);
  return all(first, turn) + (last - turn) * reach + all(turn, last) / block;
}

void check_fits(const Hisa& hisa, std::int64_t index_topk) {
  const std::int64_t fewest = (hisa.blocks - 1) * hisa.block + 1;
  if (fewest >= index_topk) return;
  throw UsageError(
      {fmt::format("{} leaves too few tokens to select from", indexer_text(hisa)), "--indexer",
       fmt::format("the model selects {} tokens, and the blocks of a query may hold as few as {}, "
                   "because the last one begins with one token",
                   index_topk, fewest),
       fmt::format("at least {} blocks of this size",
                   1 + (index_topk - 1 + hisa.block - 1) / hisa.block)});
}

}  // namespace indexcache
