// SPDX-License-Identifier: Apache-2.0
// Distillations of any size, for pages of models too large to train in a test.
#pragma once

#include "present/synthetic_run.h"
#include "result/distillation.h"

#include <cmath>
#include <string>
#include <utility>

namespace indexcache::test {

inline TokenSummary synthetic_tokens(const std::string& source, std::size_t sequences) {
  return {.source = source,
          .sha256 = std::string(64, 'c'),
          .sequences = sequences,
          .tokens = 32768 * static_cast<std::int64_t>(sequences),
          .longest = 32768};
}

// Divergences of `layers` layers that fall from a size of their own; batches are noisy.
inline TrainingPoint synthetic_point(std::int64_t step, std::int64_t steps, std::size_t layers,
                                     double noise) {
  TrainingPoint point{step, {}};
  for (std::size_t i = 0; i < layers; ++i) {
    const double first = 0.4 + 0.3 * static_cast<double>(i * 7 % 5);
    const double done = static_cast<double>(step) / static_cast<double>(steps);
    const double wave = 1 + noise * std::sin(static_cast<double>(step * 13 + 7) + first);
    point.divergences.push_back(first * (0.2 + 0.8 * std::exp(-4 * done)) * wave);
  }
  return point;
}

inline TrainingStage synthetic_stage(const std::string& name, std::int64_t steps,
                                     std::size_t layers, double validation_loss) {
  TrainingStage stage{.name = name,
                      .steps = steps,
                      .steps_done = steps,
                      .rate = 0.001,
                      .schedule = "cosine",
                      .batch = 8,
                      .query_interval = 4,
                      .clip = 1,
                      .training = {},
                      .validation = {},
                      .validation_loss = validation_loss};
  for (std::int64_t step = 0; step < steps; ++step) {
    stage.training.push_back(synthetic_point(step, steps, layers, 0.2));
    if (step % 25 == 0) stage.validation.push_back(synthetic_point(step, steps, layers, 0.01));
  }
  stage.validation.push_back(synthetic_point(steps, steps, layers, 0.01));
  return stage;
}

// What the loss of the pattern does between two measurements of the same sequences.
inline void set_change(Distillation& d) {
  const SequenceLosses& before = d.find("pattern", "checkpoint")->measured.losses;
  const SequenceLosses& after = d.find("pattern", d.chosen)->measured.losses;
  d.change = paired_difference(after, before, std::vector<double>(before.size(), 1000.0));
}

// A dense and a sparse stage that gain, measured on `sequences` held-out sequences.
inline Distillation synthetic_distillation(const std::string& name, const Pattern& pattern,
                                           std::size_t sequences = 24) {
  const Report report = synthetic_report(name, pattern);
  const Pattern full = Pattern::all_full(pattern.layers());
  Distillation d{.provenance = report.result.provenance,
                 .model = report.result.model,
                 .fingerprint = {{"numerics version", "2"}, {"warm-up", "20"}},
                 .pattern = pattern,
                 .teacher = "segment",
                 .training = synthetic_tokens("calibration.jsonl", 28),
                 .validation = synthetic_tokens("calibration.jsonl", 3),
                 .judge = synthetic_tokens("heldout.h5", sequences),
                 .baseline_loss = 2,
                 .baseline_losses = SequenceLosses(sequences, 2.0),
                 .layers = {},
                 .stages = {},
                 .validation_loss_before = 2.31,
                 .judged = {},
                 .chosen = "sparse",
                 .change = {},
                 .gain = true,
                 .warnings = report.result.warnings};
  d.provenance.search_seconds = 941.4;
  for (const PatternSegment& segment : segments_of(pattern)) {
    const double share = 0.3 + 0.05 * static_cast<double>(segment.first % 5);
    d.layers.push_back({segment.first, segment.end, share, share + 0.2});
  }
  d.stages = {synthetic_stage("dense", 150, d.layers.size(), 2.1),
              synthetic_stage("sparse", 60, d.layers.size(), 2.05)};
  const auto judge = [&](const char* what, const char* indexers, const Pattern& judged,
                         double rise) {
    d.judged.push_back({what, indexers, synthetic_measure(judged, rise, sequences)});
  };
  judge("pattern", "checkpoint", pattern, 0.31);
  judge("uniform", "checkpoint", pattern, 0.42);
  judge("pattern", "dense", pattern, 0.12);
  judge("all-Full", "dense", full, 0.008);
  judge("pattern", "sparse", pattern, 0.05);
  judge("all-Full", "sparse", full, -0.004);
  set_change(d);
  return d;
}

}  // namespace indexcache::test
