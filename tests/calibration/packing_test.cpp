// SPDX-License-Identifier: Apache-2.0
#include "calibration/packing.h"

#include "calibration/selection.h"
#include "support/catch.h"

#include <map>
#include <set>

using namespace indexcache;

namespace {

using Numbers = std::vector<std::int64_t>;

// Sequences as lists of document, begin, length.
std::vector<Numbers> packed(const PackingOptions& options, const Numbers& lengths) {
  Packer packer(options);
  for (std::size_t d = 0; d < lengths.size(); ++d) packer.add(d, lengths[d]);
  std::vector<Numbers> sequences;
  for (const PackedSequence& sequence : packer.finish()) {
    Numbers numbers;
    for (const Piece& piece : sequence.pieces) {
      numbers.insert(numbers.end(),
                     {static_cast<std::int64_t>(piece.document), piece.begin, piece.length});
    }
    sequences.push_back(numbers);
  }
  return sequences;
}

using Sequences = std::vector<Numbers>;
constexpr auto kTruncate = LongDocuments::truncate;
constexpr auto kSplit = LongDocuments::split;

std::vector<EligibleDocument> documents(const Numbers& lengths, std::size_t sources = 1) {
  std::vector<EligibleDocument> list;
  for (std::size_t d = 0; d < lengths.size(); ++d) list.push_back({d, d % sources, lengths[d]});
  return list;
}

std::vector<std::size_t> dealt(Deck& deck) {
  std::vector<std::size_t> order;
  while (const auto document = deck.next()) {
    deck.took(document->source, document->length);
    order.push_back(document->document);
  }
  return order;
}

}  // namespace

TEST_CASE("without packing a sequence holds one document or a part of it") {
  CHECK(packed({10, Packing::none, kTruncate, 3, 0}, {4, 2, 25, 10}) ==
        Sequences{{0, 0, 4}, {2, 0, 10}, {3, 0, 10}});
  CHECK(packed({10, Packing::none, kSplit, 3, 0}, {4, 25, 22}) ==
        Sequences{{0, 0, 4}, {1, 0, 10}, {1, 10, 10}, {1, 20, 5}, {2, 0, 10}, {2, 10, 10}});
  CHECK(packed({10, Packing::none, kSplit, 3, 2}, {4, 25}) == Sequences{{0, 0, 4}, {1, 0, 10}});
}

TEST_CASE("concatenated documents fill every sequence to the last token") {
  CHECK(packed({10, Packing::concat, kSplit, 2, 0}, {4, 25, 5}) ==
        Sequences{{0, 0, 4, 1, 0, 6}, {1, 6, 10}, {1, 16, 9, 2, 0, 1}});
  CHECK(packed({10, Packing::concat, kTruncate, 2, 0}, {4, 25, 6}) ==
        Sequences{{0, 0, 4, 1, 0, 6}, {1, 6, 4, 2, 0, 6}});
  CHECK(packed({10, Packing::concat, kSplit, 2, 1}, {40}) == Sequences{{0, 0, 10}});
}

TEST_CASE("with boundaries no part is shorter than the minimum") {
  CHECK(packed({10, Packing::documents, kSplit, 3, 0}, {8, 12, 4}) ==
        Sequences{{0, 0, 8}, {1, 0, 10}, {2, 0, 4}});
  CHECK(packed({10, Packing::documents, kSplit, 3, 0}, {4, 9}) ==
        Sequences{{0, 0, 4, 1, 0, 6}, {1, 6, 3}});
}

TEST_CASE("no document is on both sides, and all are on one") {
  const Numbers lengths(103, 7);
  for (const double share : {0.1, 0.25, 0.5, 0.9}) {
    Decks decks = deal(documents(lengths, 3), {5, share, {}, {}});
    const auto search = dealt(decks.search);
    const auto holdout = dealt(decks.holdout);
    std::set<std::size_t> all(search.begin(), search.end());
    all.insert(holdout.begin(), holdout.end());
    CHECK(all.size() == 103);
    CHECK(search.size() + holdout.size() == 103);
    CHECK(std::abs(static_cast<double>(holdout.size()) - share * 103) < 1);
  }
  Decks two = deal(documents({5, 5}), {0, 0.01, {}, {}});
  CHECK(dealt(two.search).size() == 1);
  CHECK(dealt(two.holdout).size() == 1);
  Decks none = deal(documents({5, 5}), {0, 0, {}, {}});
  CHECK(dealt(none.holdout).empty());
}

TEST_CASE("the order is the seed's alone") {
  const Numbers lengths(50, 7);
  const auto order = [&](std::uint64_t seed) {
    Decks decks = deal(documents(lengths), {seed, 0, {}, {}});
    return dealt(decks.search);
  };
  CHECK(order(1) == order(1));
  CHECK(order(1) != order(2));
  // Known, so that another machine or version that differed would show.
  Decks decks = deal(documents({7, 7, 7, 7, 7, 7}), {0, 0, {}, {}});
  CHECK(dealt(decks.search) == std::vector<std::size_t>{0, 1, 3, 5, 2, 4});
}

TEST_CASE("sources have their weights' shares of the tokens until one is used up") {
  // Source 0 has documents of 10 tokens, source 1 of 40.
  Numbers lengths;
  for (int i = 0; i < 100; ++i) lengths.insert(lengths.end(), {10, 40});
  Decks decks = deal(documents(lengths, 2), {0, 0, {1, 2}, {}});
  std::map<std::size_t, std::int64_t> tokens;
  while (const auto document = decks.search.next()) {
    decks.search.took(document->source, document->length);
    tokens[document->source] += document->length;
    if (tokens[0] > 200) {
      CHECK(std::abs(static_cast<double>(tokens[1]) / static_cast<double>(tokens[0]) - 2) < 0.25);
    }
  }
  CHECK(tokens[0] == 1000);
  CHECK(tokens[1] <= 2040);
  CHECK(decks.search.exhausted() == 0);
}

TEST_CASE("strata take turns, and the hold-out has each of them") {
  Numbers lengths(80, 5);
  for (int i = 0; i < 20; ++i) lengths.push_back(50);
  for (int i = 0; i < 12; ++i) lengths.push_back(500);
  Decks decks = deal(documents(lengths), {0, 0.25, {}, {10, 100}});
  std::map<std::int64_t, int> first;
  for (int i = 0; i < 24; ++i) ++first[lengths[decks.search.next()->document]];
  CHECK(first == std::map<std::int64_t, int>{{5, 8}, {50, 8}, {500, 8}});
  std::map<std::int64_t, int> held;
  for (const std::size_t d : dealt(decks.holdout)) ++held[lengths[d]];
  CHECK(held == std::map<std::int64_t, int>{{5, 20}, {50, 5}, {500, 3}});
}
