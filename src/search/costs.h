// SPDX-License-Identifier: Apache-2.0
// From counts to time: what a visit of a layer takes, measured on one layer or estimated from its
// operations.
#pragma once

#include "model/model.h"
#include "model/model_weights.h"
#include "search/workload.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace indexcache {

struct Costs {
  // Seconds a token of a sequence: at layers with an MLP [0] and with experts [1].
  std::array<std::array<double, kVisits>, 2> visit{};
  double stream_byte = 0;  // seconds a byte of weights that come again each pass
  double first_byte = 0;   // seconds a byte of weights at the first pass
  double once = 0;         // seconds of what a process does once: algorithms, code, memory
  std::string source;      // "measured" or where the rates are from
  double uncertainty = 0;  // the truth lies within estimate / (1 + u) … estimate * (1 + u)
};

struct RunTime {
  std::array<double, kVisits> compute{};  // seconds by visit
  double once = 0;                        // what a process does besides its sweeps
  double first_load = 0;                  // beyond what computing hides
  double streaming = 0;                   // the same, of all later passes

  double total() const;
  // The largest term, in words.
  std::string dominating() const;
};

// `streams`: weights come to the device again for each pass.
RunTime run_time(const Workload& work, bool streams, const Costs& costs,
                 const WeightSizes& weights);

// From the operations of each visit and the rates that docs/performance.md measured on one H200, or
// of a CPU core. The lengths of `tokens` decide how far queries look back, and `placement` from
// where the weights of a pass come.
Costs estimated_costs(const ModelConfig& config, const TokenSet& tokens, const Device& backend,
                      Placement placement, int threads);
Costs estimated_costs(const ModelConfig& config, std::span<const std::int64_t> lengths,
                      const Device& backend, Placement placement, int threads);

// The part of a prefill of `tokens` tokens, without the loss, that indexers of the layers in
// `has_indexer` (by letter) take on one H200 in FP8, estimated in the same way. In [0, 1).
double indexer_share(const ModelConfig& config, const std::vector<bool>& has_indexer,
                     std::int64_t tokens);

// Runs the first layers of the model, one of them with experts if there are any, on `wave` (the
// sequences of one wave of the search) and takes the time of every visit of the second run. Throws
// what a sweep throws.
Costs measured_costs(const Model& model, Backend& backend, Placement placement,
                     const TokenSet& wave, SweepMemory memory);

}  // namespace indexcache
