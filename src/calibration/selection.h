// SPDX-License-Identifier: Apache-2.0
// In which order documents are taken, and on which side of the hold-out each stands: decided by
// seed, not by the order of the files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace indexcache {

// A document that may be used.
struct EligibleDocument {
  std::size_t document;  // its number among all documents
  std::size_t source;
  std::int64_t length;  // tokens
};

struct SelectionOptions {
  std::uint64_t seed = 0;
  double holdout = 0;  // share of the documents
  // Share of each source in the tokens taken, in any unit; empty: the sources are one pool.
  std::vector<double> weights;
  // Lengths at which one stratum ends and the next begins, rising; strata take turns.
  std::vector<std::int64_t> strata;
};

// Deals out the documents of one side.
class Deck {
 public:
  // Documents by [source][stratum]; a source has the share of its weight in the tokens taken.
  Deck(std::vector<std::vector<std::vector<EligibleDocument>>> piles, std::vector<double> weights);

  // The next document: of the source that is furthest behind its share, of that source's stratum
  // that gave the fewest. nullopt when all are dealt, or, with weights, when a source is used up:
  // going on would change the mixture.
  std::optional<EligibleDocument> next();

  // What a dealt document of `source` really contributes; without weights it does not matter.
  void took(std::size_t source, std::int64_t tokens) { taken_[weighted_ ? source : 0] += tokens; }

  // The source whose documents ran out, where that ended the dealing.
  std::optional<std::size_t> exhausted() const { return exhausted_; }

 private:
  std::vector<std::vector<std::vector<EligibleDocument>>> piles_;
  std::vector<double> weights_;
  std::vector<std::int64_t> taken_;
  std::vector<std::vector<std::size_t>> dealt_;  // documents by source and stratum
  std::optional<std::size_t> exhausted_;
  bool weighted_;
};

struct Decks {
  Deck search;
  Deck holdout;
};

// Every candidate is in one of the two, which have none in common. Within a source and a stratum
// they are shuffled by seed; every 1 / holdout-th is held out, at least one where there are two.
Decks deal(const std::vector<EligibleDocument>& candidates, const SelectionOptions& options);

}  // namespace indexcache
