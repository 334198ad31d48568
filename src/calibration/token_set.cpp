// SPDX-License-Identifier: Apache-2.0
#include "calibration/token_set.h"

#include "core/error.h"
#include "io/files.h"
#include "io/hdf5.h"
#include "io/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

namespace indexcache {
namespace {

constexpr const char* kRemedy = "docs/formats.md describes the calibration files that are read";
constexpr std::int64_t kLargestId = std::numeric_limits<std::int32_t>::max();

[[noreturn]] void fail(const std::string& where, const std::string& why) {
  throw InputError({"the calibration file cannot be used", where, why, kRemedy});
}

std::int32_t checked_id(std::int64_t id, const std::string& where) {
  if (id >= 0 && id <= kLargestId) return static_cast<std::int32_t>(id);
  fail(where, fmt::format("{} is not a token id", id));
}

std::vector<std::int64_t> read_lengths(const Hdf5Reader& file, const std::string& path,
                                       std::int64_t sequences, std::int64_t width) {
  if (!file.contains("/lengths")) {
    return std::vector<std::int64_t>(static_cast<std::size_t>(sequences), width);
  }
  IntegerDataset lengths = file.integers("/lengths");
  if (lengths.shape.size() != 1 || lengths.shape[0] != sequences) {
    fail(path + ": /lengths",
         fmt::format("one length for each of {} sequences is needed", sequences));
  }
  for (std::int64_t length : lengths.values) {
    if (length >= 0 && length <= width) continue;
    fail(path + ": /lengths", fmt::format("{} is outside 0 … {}", length, width));
  }
  return lengths.values;
}

TokenSet read_hdf5(const std::string& path) {
  const Hdf5Reader file(path);
  const IntegerDataset tokens = file.integers("/tokens");
  if (tokens.shape.size() != 2) fail(path + ": /tokens", "it is not [sequences, length]");
  const auto lengths = read_lengths(file, path, tokens.shape[0], tokens.shape[1]);
  TokenSet set{path, {}};
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    const std::int64_t* ids = tokens.values.data() + static_cast<std::int64_t>(s) * tokens.shape[1];
    std::vector<std::int32_t> sequence;
    for (std::int64_t i = 0; i < lengths[s]; ++i) {
      sequence.push_back(checked_id(ids[i], fmt::format("{}: sequence {}, token {}", path, s, i)));
    }
    set.sequences.push_back(std::move(sequence));
  }
  return set;
}

std::vector<std::int32_t> parse_line(const std::string& line, const std::string& where) {
  const Json json = parse_json(line, where, kRemedy);
  if (!json.is_object() || !json.contains("input_ids")) {
    fail(where, json.is_object() && json.contains("text")
                    ? "it holds text, and token ids (\"input_ids\") are needed"
                    : "the field \"input_ids\" is missing");
  }
  const Json& ids = json["input_ids"];
  if (!ids.is_array()) fail(where, "\"input_ids\" is not a list");
  std::vector<std::int32_t> sequence;
  for (const Json& id : ids) {
    if (!id.is_number_integer())
      fail(where, "\"input_ids\" holds " + id.dump() + ", not an integer");
    sequence.push_back(checked_id(id.get<std::int64_t>(), where));
  }
  return sequence;
}

TokenSet read_jsonl(const std::string& path) {
  TokenSet set{path, {}};
  std::istringstream lines(read_file(path));
  std::string line;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    set.sequences.push_back(parse_line(line, fmt::format("{}:{}", path, number)));
  }
  return set;
}

}  // namespace

std::int64_t TokenSet::tokens() const {
  std::int64_t total = 0;
  for (const auto& sequence : sequences) total += static_cast<std::int64_t>(sequence.size());
  return total;
}

std::int64_t TokenSet::longest() const {
  std::size_t longest = 0;
  for (const auto& sequence : sequences) longest = std::max(longest, sequence.size());
  return static_cast<std::int64_t>(longest);
}

std::string TokenSet::fingerprint() const {
  std::string text;
  for (const auto& sequence : sequences) {
    text += fmt::format("{}:", sequence.size());
    for (std::int32_t id : sequence) text += fmt::format("{},", id);
  }
  return sha256(text);
}

TokenSet read_tokens(const std::filesystem::path& path) {
  const std::string kind = path.extension().string();
  const bool hdf5 = kind == ".h5" || kind == ".hdf5";
  if (!hdf5 && kind != ".jsonl") {
    fail(path.string(),
         fmt::format("the file type \"{}\" is not known: .h5, .hdf5 and .jsonl are", kind));
  }
  TokenSet set = hdf5 ? read_hdf5(path.string()) : read_jsonl(path.string());
  if (set.sequences.empty()) fail(path.string(), "it holds no sequence");
  return set;
}

std::vector<std::string> check_tokens(const TokenSet& set, const TokenLimits& limits) {
  std::size_t at_most_topk = 0;
  std::size_t below_four_times = 0;
  for (std::size_t s = 0; s < set.sequences.size(); ++s) {
    const auto& sequence = set.sequences[s];
    const std::string where = fmt::format("{}: sequence {}", set.source, s);
    const auto length = static_cast<std::int64_t>(sequence.size());
    if (length < 2) fail(where, fmt::format("{} tokens: at least 2 are needed for a loss", length));
    if (length > limits.max_positions) {
      fail(where, fmt::format("{} tokens are more than the model's max_position_embeddings {}",
                              length, limits.max_positions));
    }
    const auto bad =
        std::ranges::find_if(sequence, [&](std::int32_t id) { return id >= limits.vocabulary; });
    if (bad != sequence.end()) {
      throw InputError({"a token id is outside the vocabulary", where,
                        fmt::format("token {} is {}, the model knows ids below {}",
                                    bad - sequence.begin(), *bad, limits.vocabulary),
                        "tokenize with the tokenizer that belongs to this model"});
    }
    if (length <= limits.index_topk) ++at_most_topk;
    if (length < 4 * limits.index_topk) ++below_four_times;
  }
  if (at_most_topk == set.sequences.size()) {
    throw InputError(
        {"every sequence is too short to tell patterns apart", set.source,
         fmt::format("the longest has {} tokens and the indexer keeps {}: nothing is ever dropped, "
                     "so every pattern has the same loss",
                     set.longest(), limits.index_topk),
         fmt::format("use sequences of at least {} tokens", 4 * limits.index_topk)});
  }
  std::vector<std::string> warnings;
  if (at_most_topk > 0) {
    warnings.push_back(fmt::format(
        "{} of {} sequences are not longer than index_topk ({}): their loss is the same under "
        "every pattern",
        at_most_topk, set.sequences.size(), limits.index_topk));
  }
  if (below_four_times > at_most_topk) {
    warnings.push_back(fmt::format(
        "{} of {} sequences are shorter than 4 x index_topk ({} tokens): they drop little, so "
        "differences between patterns are understated",
        below_four_times, set.sequences.size(), 4 * limits.index_topk));
  }
  return warnings;
}

std::pair<TokenSet, TokenSet> split_holdout(const TokenSet& set, double fraction) {
  const std::size_t count = set.sequences.size();
  if (count < 2) {
    throw InputError({"one sequence cannot be split into search and held-out data", set.source, "",
                      "more sequences, --holdout FILE, or --holdout 0 to go without verification"});
  }
  const auto wanted = static_cast<std::size_t>(std::lround(fraction * static_cast<double>(count)));
  const std::size_t held = std::clamp<std::size_t>(wanted, 1, count - 1);
  TokenSet search{set.source, {}};
  TokenSet holdout{set.source, {}};
  for (std::size_t s = 0; s < count; ++s) {
    const bool out = (s + 1) * held / count > s * held / count;
    (out ? holdout : search).sequences.push_back(set.sequences[s]);
  }
  return {std::move(search), std::move(holdout)};
}

}  // namespace indexcache
