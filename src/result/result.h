// SPDX-License-Identifier: Apache-2.0
// The result of a run: what run.json holds, and the only form in which the rest of the program sees
// it. result_json.h reads and writes it; pattern_yaml.h has the part of it that describes one
// target.
#pragma once

#include "calibration/account.h"
#include "core/fingerprint.h"
#include "core/hisa.h"
#include "core/layer_numbers.h"
#include "core/pattern.h"
#include "search/constraints.h"
#include "search/fidelity.h"
#include "search/objective.h"
#include "search/overlap.h"
#include "search/paired.h"
#include "search/search_path.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// What one of the devices of a run did.
struct DeviceShare {
  std::string name;        // "GPU 0", or "rank 2 GPU 0"
  std::int64_t tasks = 0;  // parts of sweeps
  double busy_seconds = 0;
  std::int64_t students = 0;  // indexers that were trained on it

  bool operator==(const DeviceShare&) const = default;
};

// The program, the device and the moment that a result comes from.
struct Provenance {
  std::string tool_version;
  std::int64_t numerics_version = 0;
  std::string device;
  std::string created_at;                // ISO 8601 UTC
  std::optional<double> search_seconds;  // absent under SOURCE_DATE_EPOCH
  // Device memory in bytes, weights included; absent if the backend does not count it.
  std::optional<std::int64_t> planned_bytes;
  std::optional<std::int64_t> peak_bytes;
  // In this process or job, if it had several devices; empty under SOURCE_DATE_EPOCH.
  std::vector<DeviceShare> devices = {};
  double idle_share = 0;  // of the devices' time

  bool operator==(const Provenance&) const = default;
};

struct TokenSummary {
  std::string source;  // file name without its folder: results do not depend on where it is
  std::string sha256;  // TokenSet::fingerprint
  std::size_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t longest = 0;
  std::optional<DocumentAccount> prepared = std::nullopt;  // absent for ready-made token ids

  bool operator==(const TokenSummary&) const = default;
};

struct ModelSummary {
  std::string name;
  std::string architecture;
  std::size_t layers = 0;  // letters of a pattern
  std::int64_t mtp_layers = 0;
  std::int64_t index_topk = 0;
  std::int64_t index_heads = 0;
  std::int64_t index_head_dim = 0;
  std::vector<bool> has_indexer;  // [layers]
  std::string native_schedule;    // F and S as config.json itself states
  std::string quantization;       // "fp8 128x128" or "none"
  double mla_norm_eps = 0;
  IndexerMethod indexer = {};  // by which everything was measured
  std::string config_sha256;
  std::string weights_layout_sha256;
  std::string tokenizer_sha256;  // empty if the folder has no tokenizer.json
  LayerNumbers numbers = {};     // which decoder layers the letters are

  bool operator==(const ModelSummary&) const = default;
};

// A pattern measured on a token set against the baseline.
struct Measured {
  Pattern pattern;
  double loss = 0;                                  // nats per token
  SequenceLosses losses;                            // [sequences]
  PairedDifference delta;                           // to the baseline, on the same sequences
  std::optional<Fidelity> fidelity = std::nullopt;  // to the baseline's predictions

  bool operator==(const Measured&) const = default;
};

struct Holdout {
  TokenSummary tokens;
  double baseline_loss = 0;
  SequenceLosses baseline_losses;

  bool operator==(const Holdout&) const = default;
};

// How much of a shared layer's own index set its donor's set holds, on the calibration data.
struct DonorOverlap {
  std::size_t layer;
  std::size_t donor;
  double overlap;  // in [0, 1]

  bool operator==(const DonorOverlap&) const = default;
};

// Another pattern of a target's size that a search measured on all calibration sequences.
struct Contender {
  std::string method;  // the search that measured it
  Pattern pattern;
  double difference = 0;  // its loss minus that of the chosen pattern, nats per token, paired
  std::optional<std::pair<double, double>> ci95;  // absent for a single sequence

  bool operator==(const Contender&) const = default;
};

// What a search on half of the calibration sequences chooses.
struct HalfChoice {
  Pattern pattern;
  // On the other half: its loss minus that of what that half chooses, nats per token.
  double regret = 0;

  bool operator==(const HalfChoice&) const = default;
};

// A pattern that the chosen one is compared with on held-out data.
struct ComparedPattern {
  std::string name;  // "overlap", or the strategy that found it
  Measured holdout;

  bool operator==(const ComparedPattern&) const = default;
};

// Patterns of a target's size that were drawn at random: their held-out loss increases.
struct RandomPatterns {
  std::size_t patterns = 0;
  double mean = 0;  // nats per token
  double least = 0;
  double most = 0;

  bool operator==(const RandomPatterns&) const = default;
};

// Trained indexers that a target's pattern needs: it was searched for with them.
struct DistilledTarget {
  std::string folder;      // of the checkpoint that has them, relative to that of the run
  TokenSummary training;   // what they were trained on
  std::int64_t steps = 0;  // of the pass that trained those of all segments
  bool held_out = true;    // what the two were measured on; else sequences that training knows
  // Loss increase with the checkpoint's indexers, absent while the search is not complete, and with
  // these.
  std::optional<PairedDifference> without;
  PairedDifference with;

  bool operator==(const DistilledTarget&) const = default;
};

// One retention that was asked for.
struct Target {
  std::string request;   // "1/4", "12", as given
  std::string method;    // the search that found the pattern: a SearchPath::method
  Measured calibration;  // evaluated from scratch and found equal to the search's loss
  std::optional<Measured> holdout;
  std::optional<Measured> uniform_holdout;  // uniform interleaving of the same size
  std::vector<DonorOverlap> donors;         // of every S layer, ascending
  // The best pattern of each strategy, before refinement, in the order in which they ran.
  std::vector<Contender> strategies = {};
  // Patterns whose interval of differences contains 0: the data cannot tell them from the chosen
  // one. By rising loss.
  std::vector<Contender> ties = {};
  std::vector<HalfChoice> halves = {};  // two if the stability was checked, else none
  std::vector<ComparedPattern> compared = {};
  std::optional<RandomPatterns> random_holdout = std::nullopt;
  std::optional<DistilledTarget> distilled = std::nullopt;  // absent: it runs as released

  bool operator==(const Target&) const = default;
};

// How the patterns were searched for. Together with the fingerprint and the targets it decides what
// is found.
struct SearchSettings {
  std::vector<std::string> requests;  // targets as they were asked for
  std::vector<std::string> strategies;
  std::string refinement = "none";
  std::optional<double> race_confidence;  // absent: every pattern was measured on every sequence
  bool race_all = false;                  // greedy's steps were races, too
  bool stability = false;                 // each half of the sequences was searched by itself
  Objective objective = Objective::loss;  // what steps and contenders of the searches state

  bool operator==(const SearchSettings&) const = default;
};

// The part of overlap.h5 that run.json repeats.
struct OverlapSummary {
  std::vector<double> adjacent;                             // [layers - 1]
  std::vector<std::pair<std::size_t, std::size_t>> blocks;  // first and last layer
  std::int64_t query_step = 1;

  bool operator==(const OverlapSummary&) const = default;
};

// What part of a prefill the indexers take, estimated (search/costs.h).
struct IndexerShare {
  std::int64_t tokens = 0;  // of the prefill: the longest calibration sequence
  double share = 0;         // in [0, 1)

  bool operator==(const IndexerShare&) const = default;
};

struct Result {
  Provenance provenance;
  ModelSummary model;
  TokenSummary calibration;
  std::optional<Holdout> holdout;
  Constraints constraints;
  Fingerprint fingerprint;
  Pattern baseline;
  double baseline_loss = 0;
  SequenceLosses baseline_losses;
  double search_start = 0;           // the objective's value of the baseline
  std::vector<SearchPath> searches;  // in the order in which they ran
  SearchSettings settings = {};
  std::vector<Target> targets;  // by falling number of F layers
  OverlapSummary overlap;
  std::vector<std::string> warnings;
  std::optional<IndexerShare> indexer_share = std::nullopt;  // earlier versions had none
  bool complete = true;  // false if a time budget ended the search; the same command continues it

  bool operator==(const Result&) const = default;
};

// Of the S layers of `pattern`: how much of the set that each takes over its own indexer would have
// chosen, or the one that it inherits natively (search/overlap.h).
std::vector<DonorOverlap> donor_overlaps(const Pattern& pattern, const Overlap& overlap);

OverlapSummary summarize(const Overlap& overlap);

}  // namespace indexcache
