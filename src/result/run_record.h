// SPDX-License-Identifier: Apache-2.0
// Everything that a reader of a finished run needs: the single source of pattern.yaml and run.json.
#pragma once

#include "core/pattern.h"
#include "io/json.h"
#include "search/constraints.h"
#include "search/greedy.h"
#include "search/journal.h"
#include "search/overlap.h"
#include "search/paired.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

struct TokenSummary {
  std::string source;  // file name, without its folder: results do not depend on where it lies
  std::string sha256;  // TokenSet::fingerprint
  std::size_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t longest = 0;
  Json prepared = nullptr;  // what became of the documents (PrepareReport); null for ready-made ids
};

struct ModelSummary {
  std::string name;
  std::string architecture;
  std::size_t layers = 0;
  std::int64_t mtp_layers = 0;
  std::int64_t index_topk = 0;
  std::int64_t index_heads = 0;
  std::int64_t index_head_dim = 0;
  std::vector<bool> has_indexer;
  std::string native_schedule;  // F and S that config.json itself states
  std::string quantization;     // "fp8 128x128" or "none"
  double mla_norm_eps = 0;
  std::string config_sha256;
  std::string weights_layout_sha256;
  std::string tokenizer_sha256;  // empty where the folder has no tokenizer.json
};

// A pattern measured on a token set against the baseline.
struct Measured {
  Pattern pattern;
  double loss = 0;
  SequenceLosses losses;
  PairedDifference delta;  // to the baseline, on the same sequences
};

struct Holdout {
  TokenSummary tokens;
  double baseline_loss = 0;
  SequenceLosses baseline_losses;
};

// One retention that was asked for.
struct Target {
  std::string request;   // "1/4", "12", as given
  Measured calibration;  // evaluated from scratch and found equal to the journal's loss
  std::optional<Measured> holdout;
  std::optional<Measured> uniform_holdout;  // uniform interleaving of the same size
};

struct RunRecord {
  std::string device;
  ModelSummary model;
  TokenSummary calibration;
  std::optional<Holdout> holdout;
  Constraints constraints;
  Fingerprint fingerprint;
  Pattern baseline;
  double baseline_loss = 0;
  SequenceLosses baseline_losses;
  std::vector<Step> steps;
  std::vector<Target> targets;  // by falling number of F layers
  std::vector<std::string> warnings;
  // Device memory, weights included; 0 on engines that do not count it.
  std::int64_t planned_bytes = 0;
  std::int64_t peak_bytes = 0;
};

// pattern.yaml describes the target at `index`; run.json the whole.
std::string to_pattern_yaml(const RunRecord& record, const Overlap& overlap, std::size_t index);
Json to_json(const RunRecord& record, const Overlap& overlap);

// Pieces that both files share.
Json tool_json();
Json model_json(const ModelSummary& model);
Json token_json(const TokenSummary& tokens);

Json fingerprint_json(const Fingerprint& fingerprint);
Json constraints_json(const RunRecord& record);

// {"delta", "delta_ci95"}, as in `eval --json`.
Json interval_json(const PairedDifference& difference);

// {"sequence", "delta"}: where the loss rises most.
Json worst_sequence_json(const PairedDifference& difference);

// [{"layer", "donor", "overlap"}] of every S layer: how much of the set that it takes over its own
// indexer would have chosen, or the one it inherits natively (overlap/overlap.h).
Json donor_overlap_json(const Pattern& pattern, const Overlap& overlap);

}  // namespace indexcache
