// SPDX-License-Identifier: Apache-2.0
// The one thing that every search strategy asks for: losses of patterns.
//
// Implementations compute them (sweep_evaluator.h), remember them (memo_evaluator.h), count what
// they would cost (counting_evaluator.h) or refuse to start what a time budget does not cover
// (budget_evaluator.h). Each wraps another, so a strategy knows nothing of journals, budgets,
// plans or devices.
#pragma once

#include "core/pattern.h"
#include "search/search_path.h"

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace indexcache {

// Losses that are final, of some patterns of a request on some of its sequences.
struct LossPart {
  std::span<const std::size_t> patterns;   // positions in the request
  std::span<const std::size_t> sequences;  // positions in the token set, ascending
  std::span<const SequenceLosses> losses;  // [patterns][sequences]
};

// Receives losses as soon as they are final.
using PartDone = std::function<void(const LossPart& part)>;

struct LossRequest {
  std::span<const Pattern> patterns;
  std::span<const std::size_t> sequences;  // positions in the token set, ascending
  // Called for parts that together are all patterns on all sequences, each pair once, before
  // losses() returns and on its thread. May be empty.
  PartDone part_done = {};
};

// Passes the losses of all patterns of `request` on `sequences` to its part_done, if it has one.
void report_part(const LossRequest& request, std::span<const std::size_t> sequences,
                 std::span<const SequenceLosses> losses);

// Mean over sequences, each weighing as much as its weight.
double weighted_mean(const SequenceLosses& losses, const std::vector<double>& weights);

class Evaluator {
 public:
  // `weights`: tokens that the objective averages, of every sequence.
  explicit Evaluator(std::vector<double> weights);
  virtual ~Evaluator() = default;

  // result[p][i]: value of the objective (nats per token; the mean next-token loss, unless another
  // is chosen) of pattern p on sequence request.sequences[i]. A loss depends only on its pattern
  // and its sequence, to the last bit: not on what else is asked for, nor in which order.
  virtual std::vector<SequenceLosses> losses(const LossRequest& request) = 0;

  // The same on all sequences.
  std::vector<SequenceLosses> losses(std::span<const Pattern> patterns);
  SequenceLosses losses_of(const Pattern& pattern);

  // Mean over all averaged tokens of all sequences.
  double mean(const SequenceLosses& losses) const;

  // Tokens that the objective averages, of every sequence: its length - 1 for the loss.
  const std::vector<double>& weights() const { return weights_; }
  // 0, 1, 2, … : every sequence.
  const std::vector<std::size_t>& all_sequences() const { return all_; }

 private:
  std::vector<double> weights_;
  std::vector<std::size_t> all_;
};

}  // namespace indexcache
