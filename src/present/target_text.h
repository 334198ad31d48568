// SPDX-License-Identifier: Apache-2.0
// What a target comes to, in the words that every report uses.
#pragma once

#include "result/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

struct VerdictText {
  bool good;  // held-out data show a loss increase within the shipped gate's limit (0.05 nats, the
              // upper end of the interval), and less than uniform interleaving's
  std::string text;  // one or two sentences
};

VerdictText verdict_of(const Target& target);

// "1.79741" and "+0.02891".
std::string loss_text(double loss);
std::string delta_text(double delta);

// "+2.5%": what a loss increase makes of the perplexity.
std::string perplexity_text(double rise);

// "heldout.h5: 48 sequences, 98,304 tokens, longest 2,048, SHA-256 …".
std::string tokens_text(const TokenSummary& tokens);

// "+0.0247 nats, 95% +0.0162 to +0.0333".
std::string rise_text(const Measured& measured);

// Indexer work that is left out, in percent of what the model does with every indexer.
double saved_percent(const Result& result, const Target& target);

// What was measured on held-out sequences or, without them, on the calibration data.
const Measured& shown_measure(const Target& target);

// Predicted, not measured: sum over queries of 2 heads x width x scored keys per layer
// (DeepSeek-V3.2 report, equation 1), and the index keys that need not be kept.
struct IndexerCost {
  std::int64_t context;
  double teraflop_before;
  double teraflop_after;
  double kept_megabytes_before;  // index keys of one sequence: a byte per number, four per scale
  double kept_megabytes_after;
};
std::vector<IndexerCost> indexer_costs(const Result& result, const Target& target);

// The sequences whose loss increases most, the worst first.
std::vector<SequenceDifference> worst_sequences(const Measured& measured, std::size_t count);

// The device of a result, and how well several were used.
std::string device_text(const Provenance& provenance);

}  // namespace indexcache
