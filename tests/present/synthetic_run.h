// SPDX-License-Identifier: Apache-2.0
// Results of any size around a given pattern, for pages of models too large to search in a
// test.
#pragma once

#include "present/report.h"
#include "search/segment_table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace indexcache::test {

// Overlap that falls with distance, in blocks of six layers and three buckets.
inline Overlap synthetic_overlap(std::size_t layers) {
  Overlap overlap{.layers = layers,
                  .index_topk = 2048,
                  .bucket_ends = {4096, 8192, 16384},
                  .queries = {1000, 2000, 4000},
                  .counts = {}};
  for (std::size_t b = 0; b < 3; ++b) {
    for (std::size_t i = 0; i < layers; ++i) {
      for (std::size_t j = 0; j < layers; ++j) {
        const double far = std::abs(static_cast<double>(i) - static_cast<double>(j));
        const double same = i / 6 == j / 6 ? 0.25 : 0.0;
        const double share =
            i == j ? 1 : (0.65 - 0.1 * static_cast<double>(b)) * std::exp(-far / 9) + same;
        overlap.counts.push_back(static_cast<std::int64_t>(
            share * static_cast<double>(overlap.queries[b] * overlap.index_topk)));
      }
    }
  }
  return overlap;
}

inline Measured synthetic_measure(const Pattern& pattern, double rise, std::size_t sequences) {
  std::mt19937 engine(static_cast<unsigned>(pattern.full_count()));
  std::vector<double> losses;
  const std::vector<double> baseline(sequences, 2.0);
  for (std::size_t s = 0; s < sequences; ++s) {
    losses.push_back(2.0 + rise * (0.4 + 1.2 * static_cast<double>(engine() % 1000) / 1000));
  }
  auto delta = paired_difference(losses, baseline, std::vector<double>(sequences, 1000.0));
  return {pattern, 2.0 + delta.mean, losses, delta};
}

// A step from `current` that shares `chosen` at the loss `best`; every other layer costs more.
inline PathStep synthetic_step(const Pattern& current, std::size_t chosen, double best,
                               std::mt19937& engine) {
  PathStep step{.pattern = current.with_shared(chosen), .loss = best, .considered = {}};
  for (const std::size_t layer : current.full_layers()) {
    if (layer == 0) continue;
    const double worse = layer == chosen ? 0 : 0.0005 + 0.0002 * static_cast<double>(engine() % 60);
    const double spike = layer % 9 == 8 && layer != chosen ? 0.03 : 0;
    const double loss = best + worse + spike;
    step.considered.push_back({current.with_shared(layer), loss, SequenceLosses(16, loss)});
  }
  return step;
}

inline ModelSummary synthetic_model(const std::string& name, std::size_t layers) {
  return {.name = name,
          .architecture = "GlmMoeDsaForCausalLM",
          .layers = layers,
          .mtp_layers = 1,
          .index_topk = 2048,
          .index_heads = 32,
          .index_head_dim = 128,
          .has_indexer = std::vector<bool>(layers, true),
          .native_schedule = std::string(layers, 'F'),
          .quantization = "fp8 128x128",
          .mla_norm_eps = 1e-5,
          .config_sha256 = std::string(64, 'a'),
          .weights_layout_sha256 = std::string(64, 'b'),
          .tokenizer_sha256 = ""};
}

// A search that ends in `pattern`, with targets at half and at the end.
inline Report synthetic_report(const std::string& name, const Pattern& pattern) {
  const std::size_t layers = pattern.layers();
  const Pattern full = Pattern::all_full(layers);
  const TokenSummary tokens{.source = "calibration.h5",
                            .sha256 = std::string(64, 'c'),
                            .sequences = 16,
                            .tokens = 524288,
                            .longest = 32768};
  TokenSummary held_out = tokens;
  held_out.sequences = 24;
  const Overlap overlap = synthetic_overlap(layers);
  Result result{.provenance = {.tool_version = "0.1.0",
                               .numerics_version = 2,
                               .device = "cuda H200, bf16, indexer fp8",
                               .created_at = "2023-11-14T22:13:20Z",
                               .search_seconds = std::nullopt,
                               .planned_bytes = std::nullopt,
                               .peak_bytes = std::nullopt},
                .model = synthetic_model(name, layers),
                .calibration = tokens,
                .holdout = Holdout{held_out, 2.0, SequenceLosses(24, 2.0)},
                .constraints = Constraints::none(layers),
                .fingerprint = {{"numerics version", "2"}, {"device", "cuda"}},
                .baseline = full,
                .baseline_loss = 2.0,
                .baseline_losses = SequenceLosses(16, 2.0),
                .search_start = 2.0,
                .searches = {{.method = "greedy", .start = full, .steps = {}}},
                .targets = {},
                .overlap = summarize(overlap),
                .warnings = {"a \"warning\" with <markup> & more"}};
  std::mt19937 engine(3);
  std::vector<PathStep>& steps = result.searches[0].steps;
  auto left = pattern.shared_layers();
  std::shuffle(left.begin(), left.end(), engine);
  for (std::size_t s = 0; s < left.size(); ++s) {
    const double done = static_cast<double>(s + 1) / static_cast<double>(left.size());
    const double best = 2.0 + 0.06 * done * done * done - 0.002 * done;
    const Pattern& current = s == 0 ? full : steps.back().pattern;
    steps.push_back(synthetic_step(Pattern(current), left[s], best, engine));
  }
  for (const std::size_t count : {std::max<std::size_t>(left.size() / 2, 1), left.size()}) {
    const PathStep& step = steps[count - 1];
    const double rise = step.loss - 2.0;
    result.targets.push_back({std::to_string(step.pattern.full_count()), "greedy",
                              synthetic_measure(step.pattern, rise, 16),
                              synthetic_measure(step.pattern, rise * 1.2 + 0.001, 24),
                              synthetic_measure(step.pattern, rise * 6 + 0.05, 24),
                              donor_overlaps(step.pattern, overlap)});
  }
  return {std::move(result), overlap, {}, "example"};
}

// A pattern whose loss increase is `increase`, on all sequences of a synthetic report.
inline Considered synthetic_considered(const Pattern& pattern, double increase) {
  return {pattern, 2.0 + increase, SequenceLosses(16, 2.0 + increase)};
}

using SegmentCost = std::function<double(const PatternSegment&)>;

// Puts a search before the others that measured the segments of at most `longest` layers.
inline void add_segments(Report& report, const SegmentCost& cost, std::size_t longest) {
  Result& result = report.result;
  SearchPath search{.method = "segments", .start = result.baseline, .steps = {}};
  const SegmentTable table(result.baseline);
  for (const std::size_t first : result.baseline.full_layers()) {
    for (const std::size_t end : table.ends(first)) {
      if (end - first > longest || table.cost({first, end})) continue;
      search.measured.push_back(
          synthetic_considered(table.pattern({first, end}), cost({first, end})));
    }
  }
  result.searches.insert(result.searches.begin(), std::move(search));
}

// The same for large models, with costs that grow with the length; other patterns that were
// measured then cost nearly the sum of their segments.
inline void add_typical_segments(Report& report, std::size_t longest) {
  const auto cost = [](const PatternSegment& segment) {
    const auto shared = static_cast<double>(segment.end - segment.first - 1);
    const double sensitive = segment.first % 6 < 2 ? 0.004 : 0.0004;
    return sensitive * shared * std::sqrt(shared) - 0.0003;
  };
  std::mt19937 engine(5);
  for (SearchPath& search : report.result.searches) {
    for (PathStep& step : search.steps) {
      for (Considered& considered : step.considered) {
        double sum = 0;
        for (const PatternSegment& segment : segments_of(considered.pattern)) {
          if (segment.end > segment.first + 1) sum += cost(segment);
        }
        sum *= 0.9 + 0.001 * static_cast<double>(engine() % 200);
        considered = synthetic_considered(considered.pattern, sum);
        if (considered.pattern == step.pattern) step.loss = considered.loss;
      }
    }
  }
  add_segments(report, cost, longest);
}

}  // namespace indexcache::test
