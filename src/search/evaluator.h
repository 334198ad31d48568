// SPDX-License-Identifier: Apache-2.0
// Losses of many patterns in one pass over the layers: the prefix-tree sweep (docs/algorithm.md).
//
// Patterns that agree on layers 0 … i share one stream (residual rows and current index sets) up
// to there; where they differ the stream forks, after everything that does not depend on the
// choice was computed once. All streams advance together, so a layer's weights are needed once a
// sweep. Rows t < index_topk attend densely under every pattern: they are computed once.
#pragma once

#include "backend/backend.h"
#include "backend/row_chunks.h"
#include "calibration/token_set.h"
#include "core/pattern.h"
#include "model/decoder.h"
#include "model/weights.h"
#include "search/search_path.h"
#include "search/sweep_plan.h"
#include "search/visits.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace indexcache {

// Sees what a sweep computes. Rows are those of one wave: positions t >= index_topk.
class SweepObserver {
 public:
  virtual ~SweepObserver() = default;

  // The index sets in force at `layer` for the patterns of one stream, and the residual after it.
  virtual void layer_done(std::size_t layer, std::span<const std::size_t> patterns,
                          const RowLayout& rows, const Tensor& sets, const Tensor& hidden) = 0;

  // Bytes of index sets that the observer keeps for each row until the end of a wave.
  virtual std::int64_t kept_row_bytes() const { return 0; }

  // The residual after `layer` of the rows t < index_topk.
  virtual void dense_rows_done(std::size_t layer, const RowLayout& rows, const Tensor& hidden) {
    (void)layer, (void)rows, (void)hidden;
  }
};

struct EvaluatorOptions {
  // What a sweep may hold beside the weights; it is cut to fit (sweep_plan.h). Losses do not depend
  // on it.
  std::int64_t memory_bytes = std::int64_t{512} << 20;
  // What waves of several sequences, and chunks of rows, are kept within where that is less.
  std::int64_t wave_bytes = std::numeric_limits<std::int64_t>::max();
  // Refuse what does not fit however it is cut, instead of trying.
  bool enforce = false;
};

// Losses that a sweep need not compute, and who hears of those that it does.
struct SweepLog {
  // Of the first sequences: [patterns][known sequences], or nothing.
  std::vector<SequenceLosses> known = {};
  // Called after every wave with the losses of its sequences: [patterns][range.count]. May be
  // empty.
  std::function<void(const SequenceRange& range, std::span<const SequenceLosses> losses)> finished =
      {};
};

// Called with the seconds of every visit; `layer` is the number of layers for a loss.
using VisitClock = std::function<void(Visit visit, std::size_t layer, double seconds)>;

// Called after every stream-layer with (done, total) of the sweep.
using SweepProgress = std::function<void(std::size_t, std::size_t)>;

class Evaluator {
 public:
  // `tokens` must have passed check_tokens; the references must outlive the evaluator.
  Evaluator(const ModelConfig& config, WeightSource& weights, Backend& backend,
            const TokenSet& tokens, EvaluatorOptions options = {});

  // result[p][s]: loss of pattern p on sequence s. Equal, bit for bit, to evaluating each pattern
  // alone. Patterns must fit the model (check_fits). Throws InputError when a loss is not finite,
  // ResourceError when options.enforce is set and one sequence and pattern need too much.
  std::vector<SequenceLosses> losses(std::span<const Pattern> patterns,
                                     SweepObserver* observer = nullptr, const SweepLog& log = {});

  // How losses() would cut a sweep of so many patterns.
  SweepPlan plan(std::size_t patterns, std::int64_t kept_row_bytes = 0) const;
  // The same from sequence `first` on; a cut at the end of one of its waves gives the others.
  SweepPlan plan_from(std::size_t first, std::size_t patterns, std::int64_t kept_row_bytes) const;

  // The most that any call of losses() planned to hold beside the weights.
  std::int64_t planned_bytes() const { return planned_bytes_; }

  void set_progress(SweepProgress progress) { progress_ = std::move(progress); }
  // With a clock the device waits at every visit.
  void set_clock(VisitClock clock) { clock_ = std::move(clock); }

  // Mean over all predicted tokens of all sequences.
  double mean(const SequenceLosses& losses) const;

  // Predicted tokens of each sequence: length - 1.
  const std::vector<double>& weights() const { return token_counts_; }

 private:
  struct Wave;
  struct Stream;
  struct DenseRows;

  Wave make_wave(const SequenceRange& range) const;
  void sweep(const Wave& wave, std::span<const Pattern> patterns, std::span<SequenceLosses> sums,
             SweepObserver* observer);
  void normalize(std::span<const Pattern> patterns, const SequenceRange& range,
                 std::vector<SequenceLosses>& sums) const;
  void advance_dense(const LayerWeights& weights, const Wave& wave, const DenseRows& dense);
  void branch(const LayerWeights& weights, const Wave& wave, const DenseRows& dense,
              std::span<const Pattern> patterns, std::size_t layer, Stream stream,
              std::vector<Stream>& next);
  void fill_keys(const LayerWeights& weights, const std::vector<RowChunk>& chunks,
                 const Tensor& hidden, const RowLayout& key_rows, const KeyRows& keys);
  void refuse(const SweepPlan& plan) const;
  void timed(Visit visit, std::size_t layer, const std::function<void()>& body);
  void step_done();

  const ModelConfig& config_;
  WeightSource& weights_;
  Backend& backend_;
  const TokenSet& tokens_;
  EvaluatorOptions options_;
  Decoder decoder_;
  std::vector<double> token_counts_;
  SweepProgress progress_;
  VisitClock clock_;
  std::size_t steps_done_ = 0;
  std::size_t steps_total_ = 0;
  std::int64_t planned_bytes_ = 0;
};

}  // namespace indexcache
