// SPDX-License-Identifier: Apache-2.0
#include "calibration/token_set.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace indexcache {
namespace {

[[noreturn]] void refuse_tokens(const std::string& where, const std::string& why) {
  throw InputError({"the calibration file cannot be used", where, why,
                    "docs/calibration.md describes the supported calibration files"});
}

}  // namespace

std::int64_t TokenSet::tokens() const {
  std::int64_t total = 0;
  for (const auto& sequence : sequences) total += static_cast<std::int64_t>(sequence.size());
  return total;
}

std::vector<double> TokenSet::predicted() const {
  std::vector<double> counts;
  for (const auto& sequence : sequences) counts.push_back(static_cast<double>(sequence.size() - 1));
  return counts;
}

std::int64_t TokenSet::longest() const {
  std::size_t longest = 0;
  for (const auto& sequence : sequences) longest = std::max(longest, sequence.size());
  return static_cast<std::int64_t>(longest);
}

void TokenHasher::add(const std::vector<std::int32_t>& sequence) {
  std::string text = fmt::format("{}:", sequence.size());
  for (std::int32_t id : sequence) {
    const fmt::format_int digits(id);  // a set may hold a billion ids
    text.append(digits.data(), digits.size()) += ',';
  }
  hash_.update(text);
}

std::string TokenSet::fingerprint() const {
  TokenHasher hasher;
  for (const auto& sequence : sequences) hasher.add(sequence);
  return hasher.hex();
}

std::vector<std::string> check_tokens(const TokenSet& set, const TokenLimits& limits) {
  std::vector<std::int64_t> lengths;
  for (std::size_t s = 0; s < set.sequences.size(); ++s) {
    const auto& sequence = set.sequences[s];
    lengths.push_back(std::ssize(sequence));
    const auto bad =
        std::ranges::find_if(sequence, [&](std::int32_t id) { return id >= limits.vocabulary; });
    if (bad == sequence.end()) continue;
    throw InputError({"a token id is outside the vocabulary",
                      fmt::format("{}: sequence {}", set.source, s),
                      fmt::format("token {} is {}, but the model accepts only ids below {}",
                                  bad - sequence.begin(), *bad, limits.vocabulary),
                      "tokenize with the tokenizer that belongs to this model"});
  }
  return check_lengths(lengths, set.source, limits);
}

std::vector<std::string> check_lengths(const std::vector<std::int64_t>& lengths,
                                       const std::string& source, const TokenLimits& limits) {
  const std::int64_t cut = limits.first_selecting_position;
  std::size_t at_most_topk = 0;
  std::size_t below_four_times = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    const std::string where = fmt::format("{}: sequence {}", source, s);
    if (lengths[s] < 2) {
      refuse_tokens(where,
                    fmt::format("it has {} tokens, but a loss requires at least 2", lengths[s]));
    }
    if (lengths[s] > limits.max_positions) {
      refuse_tokens(where,
                    fmt::format("it has {} tokens, but the model's max_position_embeddings is {}",
                                lengths[s], limits.max_positions));
    }
    if (lengths[s] <= cut) ++at_most_topk;
    if (lengths[s] < 4 * cut) ++below_four_times;
  }
  if (at_most_topk == lengths.size()) {
    throw InputError(
        {"every sequence is too short to tell patterns apart", source,
         fmt::format("the longest has {} tokens and the indexer keeps {}: nothing is ever dropped, "
                     "so every pattern has the same loss",
                     lengths.empty() ? 0 : std::ranges::max(lengths), limits.index_topk),
         fmt::format("use sequences of at least {} tokens", 4 * cut)});
  }
  std::vector<std::string> warnings;
  if (at_most_topk > 0) {
    warnings.push_back(fmt::format(
        "{} of {} sequences are not longer than index_topk ({}): their loss is the same under "
        "every pattern",
        at_most_topk, lengths.size(), limits.index_topk));
  }
  if (below_four_times > at_most_topk) {
    warnings.push_back(fmt::format(
        "{} of {} sequences are shorter than 4 x {} ({} tokens): they drop little, so differences "
        "between patterns are understated",
        below_four_times, lengths.size(),
        cut == limits.index_topk ? "index_topk" : fmt::format("{}", cut), 4 * cut));
  }
  return warnings;
}

TokenSet subset(const TokenSet& set, const std::vector<bool>& chosen, bool value) {
  TokenSet part{set.source, {}};
  for (std::size_t s = 0; s < set.sequences.size(); ++s) {
    if (chosen[s] != value) continue;
    part.sequences.push_back(set.sequences[s]);
    if (!set.groups.empty()) part.groups.push_back(set.groups[s]);
  }
  return part;
}

std::pair<TokenSet, TokenSet> split_holdout(const TokenSet& set, double fraction) {
  // Groups in the order of their first sequences.
  std::vector<std::size_t> group_of(set.sequences.size());
  std::map<std::size_t, std::size_t> numbers;
  for (std::size_t s = 0; s < group_of.size(); ++s) {
    group_of[s] =
        numbers.try_emplace(set.groups.empty() ? s : set.groups[s], numbers.size()).first->second;
  }
  const std::size_t count = numbers.size();
  if (count < 2) {
    throw InputError(
        {set.sequences.size() < 2
             ? "one sequence cannot be split into search and held-out data"
             : "sequences that share documents cannot be split into search and "
               "held-out data",
         set.source, "",
         "more sequences, `prepare --holdout SHARE`, --holdout FILE, or --holdout 0 to "
         "skip the verification"});
  }
  const auto wanted = static_cast<std::size_t>(std::lround(fraction * static_cast<double>(count)));
  const std::size_t held = std::clamp<std::size_t>(wanted, 1, count - 1);
  std::vector<bool> out(set.sequences.size());
  for (std::size_t s = 0; s < out.size(); ++s) {
    out[s] = (group_of[s] + 1) * held / count > group_of[s] * held / count;
  }
  return {subset(set, out, false), subset(set, out, true)};
}

}  // namespace indexcache
