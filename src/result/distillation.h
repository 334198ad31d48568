// SPDX-License-Identifier: Apache-2.0
// What a distillation did and gained: distill.json (docs/formats.md).
#pragma once

#include "core/fingerprint.h"
#include "core/pattern.h"
#include "io/json.h"
#include "result/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

inline constexpr const char* kDistillationSchema = "indexcache-distill/1";

// The indexer of `layer`, trained for the layers [layer, end).
struct TrainedLayer {
  std::size_t layer = 0;
  std::size_t end = 0;
  // Share of the attention of the layers in [layer, end) that the selected positions have, of
  // queries that see more than index_topk, on the validation sequences: before and after.
  std::optional<double> mass_before, mass_after;

  bool operator==(const TrainedLayer&) const = default;
};

// KL divergence from the teacher, in nats per query, of every trained layer.
struct TrainingPoint {
  std::int64_t step = 0;  // steps done before
  std::vector<double> divergences;

  bool operator==(const TrainingPoint&) const = default;
};

struct TrainingStage {
  std::string name;        // "dense": attention to every position, or "sparse": the pattern runs
  std::int64_t steps = 0;  // that were asked for
  std::int64_t steps_done = 0;
  double rate = 0;         // the highest
  std::string schedule;    // of the rate
  std::int64_t batch = 0;  // sequences per step
  std::int64_t query_interval = 1;
  double clip = 0;                      // of a gradient's norm; 0: none
  std::vector<TrainingPoint> training;  // of the batch of each step
  std::vector<TrainingPoint> validation;
  double validation_loss = 0;  // of the pattern with the indexers of this stage, nats per token

  bool operator==(const TrainingStage&) const = default;
};

// A pattern with the indexers of the checkpoint or of a stage, on the judge's sequences.
struct JudgedPattern {
  std::string name;      // "pattern", "uniform" or "all-Full"
  std::string indexers;  // "checkpoint", or the name of a stage
  Measured measured;     // against all-Full with the checkpoint's indexers

  bool operator==(const JudgedPattern&) const = default;
};

struct Distillation {
  Provenance provenance;
  ModelSummary model;
  Fingerprint fingerprint;
  Pattern pattern;
  std::string teacher;  // "segment", or "own": each layer only for itself
  TokenSummary training;
  TokenSummary validation;
  TokenSummary judge;
  bool judge_is_held_out = true;  // false: the validation sequences judge, too
  double baseline_loss = 0;
  SequenceLosses baseline_losses;
  std::vector<TrainedLayer> layers;
  std::vector<TrainingStage> stages;
  double validation_loss_before = 0;  // of the pattern with the checkpoint's indexers
  std::vector<JudgedPattern> judged;
  std::string chosen;       // the stage whose indexers are written; "checkpoint" if none
  PairedDifference change;  // of the pattern's loss, against the checkpoint's indexers
  bool gain = false;        // the loss falls, and the interval says so
  std::vector<std::string> warnings;
  bool complete = true;  // false if a time budget ended the training

  const JudgedPattern* find(const std::string& name, const std::string& indexers) const;

  bool operator==(const Distillation&) const = default;
};

Json to_json(const Distillation& distillation);

// Throws InputError naming `where` and the key.
Distillation distillation_from_json(const Json& document, const std::string& where);

// The name of the file in the folder that `distill` wrote.
inline constexpr const char* kDistillationFile = "distill.json";

// From the file or its folder. Throws InputError naming the file and the key.
Distillation read_distillation(const std::filesystem::path& path);

}  // namespace indexcache
