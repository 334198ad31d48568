// SPDX-License-Identifier: Apache-2.0
#include "calibration/selection.h"

#include "core/mix.h"

#include <algorithm>
#include <utility>

namespace indexcache {
namespace {

using Piles = std::vector<std::vector<std::vector<EligibleDocument>>>;

// SplitMix64: a document's place in the shuffle depends on seed and number alone.
std::uint64_t shuffle_key(std::uint64_t seed, std::size_t document) {
  std::uint64_t x = seed * 0x9E3779B97F4A7C15U + document + 1;
  for (int round = 0; round < 2; ++round) {
    x = mix(x + 0x9E3779B97F4A7C15U);
  }
  return x;
}

std::size_t stratum_of(std::int64_t length, const std::vector<std::int64_t>& ends) {
  return static_cast<std::size_t>(std::ranges::upper_bound(ends, length) - ends.begin());
}

Piles shuffled_piles(const std::vector<EligibleDocument>& candidates,
                     const SelectionOptions& options) {
  const std::size_t sources = std::max<std::size_t>(options.weights.size(), 1);
  Piles piles(sources, std::vector<std::vector<EligibleDocument>>(options.strata.size() + 1));
  for (const EligibleDocument& candidate : candidates) {
    const std::size_t source = options.weights.empty() ? 0 : candidate.source;
    piles[source][stratum_of(candidate.length, options.strata)].push_back(candidate);
  }
  for (auto& source : piles) {
    for (auto& pile : source) {
      std::ranges::sort(pile, {}, [&](const EligibleDocument& candidate) {
        return std::pair(shuffle_key(options.seed, candidate.document), candidate.document);
      });
    }
  }
  return piles;
}

}  // namespace

Deck::Deck(Piles piles, std::vector<double> weights)
    : piles_(std::move(piles)),
      weights_(std::move(weights)),
      taken_(piles_.size(), 0),
      weighted_(!weights_.empty()) {
  weights_.resize(piles_.size(), 1);
  for (const auto& source : piles_) dealt_.emplace_back(source.size(), 0);
}

std::optional<EligibleDocument> Deck::next() {
  std::size_t source = 0;
  for (std::size_t s = 1; s < piles_.size(); ++s) {
    const auto share = [&](std::size_t i) { return static_cast<double>(taken_[i]) / weights_[i]; };
    if (share(s) < share(source)) source = s;
  }
  std::optional<std::size_t> stratum;
  for (std::size_t i = 0; i < piles_[source].size(); ++i) {
    if (dealt_[source][i] == piles_[source][i].size()) continue;
    if (!stratum || dealt_[source][i] < dealt_[source][*stratum]) stratum = i;
  }
  if (!stratum) {
    if (weighted_) exhausted_ = source;
    return std::nullopt;
  }
  return piles_[source][*stratum][dealt_[source][*stratum]++];
}

Decks deal(const std::vector<EligibleDocument>& candidates, const SelectionOptions& options) {
  const Piles all = shuffled_piles(candidates, options);
  Piles search(all.size());
  Piles holdout(all.size());
  for (std::size_t source = 0; source < all.size(); ++source) {
    search[source].resize(all[source].size());
    holdout[source].resize(all[source].size());
    double due = 0;  // documents that belong to the other side, over all strata of the source
    std::size_t out = 0;
    for (std::size_t stratum = 0; stratum < all[source].size(); ++stratum) {
      for (const EligibleDocument& candidate : all[source][stratum]) {
        due += options.holdout;
        const bool held = due >= static_cast<double>(out + 1) - 1e-9;
        out += held ? 1 : 0;
        (held ? holdout : search)[source][stratum].push_back(candidate);
      }
    }
    std::size_t count = 0;
    for (const auto& pile : all[source]) count += pile.size();
    if (options.holdout <= 0 || out > 0 || count < 2) continue;
    for (std::size_t stratum = all[source].size(); stratum-- > 0;) {
      auto& pile = search[source][stratum];
      if (pile.empty()) continue;
      holdout[source][stratum].push_back(pile.back());
      pile.pop_back();
      break;
    }
  }
  return {Deck(std::move(search), options.weights), Deck(std::move(holdout), options.weights)};
}

}  // namespace indexcache
