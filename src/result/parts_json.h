// SPDX-License-Identifier: Apache-2.0
// The parts that run.json, pattern.yaml and drift.json have in common: one writer and one reader of
// each. Readers throw InputError naming the key.
#pragma once

#include "io/json_field.h"
#include "result/result.h"

#include <optional>
#include <string>
#include <vector>

namespace indexcache {

inline constexpr double kMostNats = 1e6;  // far beyond any mean loss

// {"name", "version", "numerics_version"} of the program that measured.
Json tool_json(const Provenance& provenance);
// {"at", "search_seconds", "memory", "devices", "idle_share"}: what two equal runs do not share.
Json created_json(const Provenance& provenance);
// From the members "tool", "device" and "created" of a document.
Provenance provenance_from_json(const JsonField& document);

Json to_json(const TokenSummary& tokens);
TokenSummary tokens_from_json(const JsonField& field);

Json to_json(const ModelSummary& model);
ModelSummary model_from_json(const JsonField& field);

Json to_json(const Constraints& constraints, const Pattern& baseline);
Constraints constraints_from_json(const JsonField& field, std::size_t layers);

Json fingerprint_json(const Fingerprint& fingerprint);
Fingerprint fingerprint_from_json(const JsonField& field);

// A text that goes into keys and tables: not empty, and short.
std::string name_from_json(const JsonField& field);

// {"delta", "delta_ci95"}, as in `eval --json`.
Json interval_json(const PairedDifference& difference);
// The mean and the interval of it.
PairedDifference interval_from_json(const JsonField& field);

// What patterns and sequences of a document have to fit.
struct ResultShape {
  std::size_t layers;
  std::vector<bool> has_indexer;      // [layers], or empty if the document does not tell
  std::size_t calibration_sequences;  // 0 if the document does not tell
  std::size_t holdout_sequences;      // 0 without held-out sequences
  // Whether numbers of single sequences are required (run.json) or left out (pattern.yaml).
  bool every_sequence;
};

// F and S, one per layer, and F only where there is an indexer.
Pattern pattern_from_json(const JsonField& field, const ResultShape& shape);

// A mean loss, or a difference of losses, in nats per token.
double loss_from_json(const JsonField& field);

// `sequences` of them.
SequenceLosses losses_from_json(const JsonField& field, std::size_t sequences);

// A pattern on some sequences, against a baseline; `sequences` of them if shape.every_sequence.
Json to_json(const Measured& measured);
Measured measured_from_json(const JsonField& field, const ResultShape& shape,
                            std::size_t sequences);

// One entry of "targets".
Json to_json(const Target& target);
Target target_from_json(const JsonField& field, const ResultShape& shape);

// Held-out sequences and the loss of the baseline on them.
Json to_json(const Holdout& holdout);
Holdout holdout_from_json(const JsonField& field, bool every_sequence);

}  // namespace indexcache
