// SPDX-License-Identifier: Apache-2.0
// The trained model of data/v4-mini on one engine: all of its patterns against PyTorch, and what
// strategies find among them.
#pragma once

#include "calibration/calibration_file.h"
#include "io/files.h"
#include "io/json.h"
#include "search/greedy.h"
#include "search/overlap_pass.h"
#include "search/segments.h"
#include "search/swap.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/session.h"
#include "support/table_evaluator.h"

#include <cmath>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace indexcache::test {

// Losses of every pattern of v4-mini on each window of its calibration data.
class V4MiniTable {
 public:
  static constexpr std::size_t kLetters = 7;

  explicit V4MiniTable(SweepEvaluator& evaluator) {
    std::vector<Pattern> patterns;
    for (std::size_t bits = 0; bits < std::size_t{1} << (kLetters - 1); ++bits) {
      std::vector<bool> full = {true};
      for (std::size_t letter = 1; letter < kLetters; ++letter) {
        full.push_back((bits >> (letter - 1) & 1) == 0);
      }
      patterns.push_back(Pattern::from_full_layers(full));
    }
    const auto losses = evaluator.losses(patterns);
    for (std::size_t p = 0; p < patterns.size(); ++p) table_[patterns[p].text()] = losses[p];
  }

  const std::map<std::string, SequenceLosses>& losses() const { return table_; }

  // Of windows of equal length.
  double mean(const std::string& pattern) const {
    const SequenceLosses& losses = table_.at(pattern);
    double sum = 0;
    for (const double loss : losses) sum += loss;
    return sum / static_cast<double>(losses.size());
  }

  std::string best(std::size_t full) const {
    std::string best;
    for (const auto& [text, losses] : table_) {
      if (Pattern::parse(text).full_count() != full) continue;
      if (best.empty() || mean(text) < mean(best)) best = text;
    }
    return best;
  }

  // What a strategy finds, by number of F letters.
  template <typename Strategy>
  std::map<std::size_t, std::string> found_by(const Strategy& strategy) const {
    const std::size_t windows = table_.begin()->second.size();
    TableEvaluator evaluator{
        std::vector<double>(windows, 1023),
        [this](const Pattern& pattern, std::size_t s) { return table_.at(pattern.text())[s]; }};
    const SearchSpace space{
        Pattern::all_full(kLetters), Constraints::none(kLetters), {6, 5, 4, 3, 2, 1}};
    std::map<std::size_t, std::string> found;
    strategy(evaluator, space, SearchSink([&](const PathStep& step) {
               found[step.pattern.full_count()] = step.pattern.text();
             }));
    return found;
  }

 private:
  std::map<std::string, SequenceLosses> table_;
};

// From the worst pattern of every size.
inline void swaps_from_the_worst(const V4MiniTable& table, Evaluator& evaluator,
                                 const SearchSpace& space, const SearchSink& sink) {
  std::map<std::size_t, PathStep> worst;
  for (const auto& [text, losses] : table.losses()) {
    const PathStep step{Pattern::parse(text), table.mean(text), {}};
    PathStep& kept = worst.try_emplace(step.pattern.full_count(), step).first->second;
    if (step.loss > kept.loss) kept = step;
  }
  for (const auto& [full, step] : worst) {
    sink.step(step);
    refine_by_swaps(evaluator, space, {step}, Improvement::any, sink);
  }
}

inline void check_strategies_on(const V4MiniTable& table) {
  const auto greedy = table.found_by(greedy_search), segments = table.found_by(segments_search);
  const auto swaps =
      table.found_by([&](Evaluator& evaluator, const SearchSpace& space, const SearchSink& sink) {
        swaps_from_the_worst(table, evaluator, space, sink);
      });
  for (std::size_t full = 1; full < V4MiniTable::kLetters; ++full) {
    INFO(full << " F letters");
    CHECK(greedy.at(full) == table.best(full));
    CHECK(segments.at(full) == table.best(full));
    CHECK(swaps.at(full) == table.best(full));
  }
}

inline Json v4_mini_reference() {
  const auto path = golden("v4-mini/reference.json");
  return parse_json(read_file(path), path.string());
}

// Two float32 programs differ by at most 3e-6 here; the best pattern of a size is at least 1e-4
// better than the next one.
template <typename Engine>
void check_v4_mini() {
  Session<Engine> session(data("v4-mini"));
  const TokenSet tokens = read_tokens(data("dsa-mini/calibration.h5"));
  SweepEvaluator evaluator = session.evaluator(tokens);
  const V4MiniTable table(evaluator);
  const Json expected = v4_mini_reference()["losses"];
  REQUIRE(expected.size() == 64);
  std::map<std::size_t, std::pair<double, std::string>> best;
  for (const auto& [pattern, losses] : expected.items()) {
    INFO(pattern);
    const double loss = losses["calibration"];
    CHECK(std::abs(table.mean(pattern) - loss) < 1e-5);
    auto& [least, text] =
        best.try_emplace(Pattern::parse(pattern).full_count(), 1e9, "").first->second;
    if (loss < least) std::tie(least, text) = std::tie(loss, pattern);
  }
  for (const auto& [full, pattern] : best) CHECK(table.best(full) == pattern.second);
  check_strategies_on(table);

  // A pattern in a batch and by itself.
  for (const char* text : {"FFFFFFF", "FFFFSFF", "FSSSFSS"}) {
    const Pattern pattern = Pattern::parse(text);
    CHECK(evaluator.losses(std::span(&pattern, 1)).front() == table.losses().at(text));
  }
}

// Of every pair of its indexers, over the queries that drop entries.
template <typename Engine>
void check_v4_mini_overlap() {
  Session<Engine> session(data("v4-mini"));
  const TokenSet tokens = read_tokens(data("dsa-mini/calibration.h5"));
  SweepEvaluator evaluator = session.evaluator(tokens);
  const OverlapPass pass =
      measure_overlap(evaluator, session.backend, Pattern::all_full(V4MiniTable::kLetters));
  const Json expected = v4_mini_reference()["overlap"];
  for (std::size_t i = 0; i < V4MiniTable::kLetters; ++i) {
    for (std::size_t j = 0; j < V4MiniTable::kLetters; ++j) {
      INFO(i << " and " << j);
      CHECK(std::abs(pass.overlap.mean(i, j) - expected[i][j].get<double>()) < 1e-4);
    }
  }
}

}  // namespace indexcache::test
