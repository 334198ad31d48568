// SPDX-License-Identifier: Apache-2.0
// Run records of any size around a given pattern, for pages of models too large to search in a
// test.
#pragma once

#include "result/run_record.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace indexcache::test {

struct SyntheticRun {
  RunRecord record;
  Overlap overlap;
};

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

// A search that ends in `pattern`, with targets at half and at the end.
inline SyntheticRun synthetic_run(const std::string& name, const Pattern& pattern) {
  const std::size_t layers = pattern.layers();
  const Pattern full = Pattern::all_full(layers);
  SyntheticRun run{.record = {.device = "cuda H200, bf16, indexer fp8",
                              .model = {.name = name,
                                        .architecture = "GlmMoeDsaForCausalLM",
                                        .layers = layers,
                                        .mtp_layers = 1,
                                        .index_topk = 2048,
                                        .index_heads = 32,
                                        .index_head_dim = 128,
                                        .has_indexer = std::vector<bool>(layers, true),
                                        .native_schedule = full.text(),
                                        .quantization = "fp8 128x128",
                                        .mla_norm_eps = 1e-5,
                                        .config_sha256 = std::string(64, 'a'),
                                        .weights_layout_sha256 = std::string(64, 'b'),
                                        .tokenizer_sha256 = ""},
                              .calibration = {.source = "calibration.h5",
                                              .sha256 = std::string(64, 'c'),
                                              .sequences = 16,
                                              .tokens = 524288,
                                              .longest = 32768},
                              .holdout = std::nullopt,
                              .constraints = Constraints::none(layers),
                              .fingerprint = {{"numerics version", "2"}, {"device", "cuda"}},
                              .baseline = full,
                              .baseline_loss = 2.0,
                              .baseline_losses = SequenceLosses(16, 2.0),
                              .steps = {},
                              .targets = {},
                              .warnings = {"a \"warning\" with <markup> & more"}},
                   .overlap = synthetic_overlap(layers)};
  std::mt19937 engine(3);
  Pattern current = full;
  auto left = pattern.shared_layers();
  std::shuffle(left.begin(), left.end(), engine);
  for (std::size_t s = 0; s < left.size(); ++s) {
    const double done = static_cast<double>(s + 1) / static_cast<double>(left.size());
    const double best = 2.0 + 0.06 * done * done * done - 0.002 * done;
    std::vector<Candidate> candidates;
    for (const std::size_t layer : current.full_layers()) {
      if (layer == 0) continue;
      const double worse =
          layer == left[s] ? 0 : 0.0005 + 0.0002 * static_cast<double>(engine() % 60);
      const double spike = layer % 9 == 8 && layer != left[s] ? 0.03 : 0;
      const double loss = best + worse + spike;
      candidates.push_back({layer, SequenceLosses(16, loss), loss});
    }
    run.record.steps.push_back(choose(current, std::move(candidates)));
    current = run.record.steps.back().pattern;
  }
  run.record.holdout = Holdout{run.record.calibration, 2.0, SequenceLosses(24, 2.0)};
  run.record.holdout->tokens.sequences = 24;
  for (const std::size_t steps : {std::max<std::size_t>(left.size() / 2, 1), left.size()}) {
    const Step& step = run.record.steps[steps - 1];
    const double rise = step.loss - 2.0;
    run.record.targets.push_back({std::to_string(step.pattern.full_count()),
                                  synthetic_measure(step.pattern, rise, 16),
                                  synthetic_measure(step.pattern, rise * 1.2 + 0.001, 24),
                                  synthetic_measure(step.pattern, rise * 6 + 0.05, 24)});
  }
  return run;
}

}  // namespace indexcache::test
