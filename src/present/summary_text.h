// SPDX-License-Identifier: Apache-2.0
// What a target comes to, in the words that every report uses.
#pragma once

#include "present/run_view.h"

#include <string>
#include <vector>

namespace indexcache {

struct VerdictText {
  bool good;  // held-out data show a loss rise within the shipped gate's limit (0.05 nats, the
              // upper end of the interval), and less than uniform interleaving's
  std::string text;  // one or two sentences
};

VerdictText verdict_of(const RunView& view, const TargetView& target);

// "+2.5 %": what a loss rise makes of the perplexity.
std::string perplexity_text(double rise);

// "+0.0247 nats, 95 % +0.0162 to +0.0333".
std::string rise_text(const Rise& rise);

// Indexer work that is left out, of what the model does with every indexer, in per cent.
double saved_percent(const RunView& view, const TargetView& target);

// Predicted, not measured: sum over queries of 2 heads x width x keys, a layer (DeepSeek-V3.2
// report, equation 1), and the index keys that need not be kept.
struct IndexerCost {
  std::int64_t context;
  double teraflop_before;
  double teraflop_after;
  double kept_megabytes_before;  // index keys of one sequence, a byte a number and four a scale
  double kept_megabytes_after;
};
std::vector<IndexerCost> indexer_costs(const RunView& view, const TargetView& target);

// The sequences whose loss rises most, worst first: (sequence, rise).
std::vector<std::pair<std::size_t, double>> worst_sequences(const Rise& rise, std::size_t count);

}  // namespace indexcache
