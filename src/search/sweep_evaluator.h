// SPDX-License-Identifier: Apache-2.0
// Losses of many patterns in one pass over the layers: the prefix-tree sweep (docs/algorithm.md).
//
// Patterns that agree on layers 0 … i share one stream (residual rows and current index sets) up
// to there; where they differ the stream forks, after everything that does not depend on the
// choice was computed once. All streams advance together, so a layer's weights are needed once per
// pass. Rows before the first position that selects attend to every candidate under every pattern:
// they are computed once.
#pragma once

#include "backend/backend.h"
#include "backend/row_chunks.h"
#include "calibration/token_set.h"
#include "core/pattern.h"
#include "model/decoder.h"
#include "model/weights.h"
#include "search/evaluator.h"
#include "search/fidelity.h"
#include "search/objective.h"
#include "search/sweep_plan.h"
#include "search/visits.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace indexcache {

// What an indexer selected from, and what.
struct Selection {
  const RowLayout& rows;
  const IndexQueries& asked;
  const RowLayout& key_rows;
  const Tensor& keys;
  const Tensor& sets;
};

// Sees what a sweep computes. Rows are those of one wave, at positions that select.
class SweepObserver {
 public:
  virtual ~SweepObserver() = default;

  // The index sets in force at `layer` for the patterns of one stream, and the residual after it;
  // at a layer that does not select, those of the latest one that does.
  virtual void layer_done(std::size_t layer, std::span<const std::size_t> patterns,
                          const RowLayout& rows, const Tensor& sets, const Tensor& hidden) = 0;

  // After the indexer of `layer` has selected for some of the rows of one stream.
  virtual void selected(std::size_t layer, Decoder& decoder, const Selection& selection) {
    (void)layer, (void)decoder, (void)selection;
  }

  // Bytes of index sets that the observer keeps for each row until the end of a wave.
  virtual std::int64_t kept_row_bytes() const { return 0; }

  // The residual after `layer` of the rows before the first position that selects.
  virtual void prefix_rows_done(std::size_t layer, const RowLayout& rows, const Tensor& hidden) {
    (void)layer, (void)rows, (void)hidden;
  }
};

// Called with the seconds of every visit; `layer` is the number of layers for a loss.
using VisitClock = std::function<void(Visit visit, std::size_t layer, double seconds)>;

// Called after every stream-layer with (done, total) of the sweep.
using SweepProgress = std::function<void(std::size_t, std::size_t)>;

class SweepEvaluator : public Evaluator {
 public:
  // `tokens` must have passed check_tokens; the references must outlive the evaluator.
  SweepEvaluator(const ModelConfig& config, WeightSource& weights, Backend& backend,
                 const TokenSet& tokens, SweepMemory memory = {}, SweepGoal goal = {});

  using Evaluator::losses;

  // Values of the goal's objective; weights() are the tokens that it averages. Patterns must fit
  // the model (check_fits). A part is done after each wave. Throws InputError if a loss is not
  // finite, ResourceError if the memory is enforced and one sequence and pattern need too much.
  std::vector<SequenceLosses> losses(const LossRequest& request) override;
  // `meter`, made by make_meter for the same request, collects comparisons with the predictions of
  // the goal's reference, which must exist then.
  std::vector<SequenceLosses> losses(const LossRequest& request, SweepObserver* observer,
                                     FidelityMeter* meter = nullptr);
  FidelityMeter make_meter(const LossRequest& request) const;
  // All sequences through all layers under one pattern and no further: what a prefill computes.
  // Queues the work; the device may still be at it afterwards. Throws as losses().
  void prefill(const Pattern& pattern);

  // The same as losses(), and how far the patterns' predictions are from those of the goal's
  // reference, which must exist; [patterns], nullopt if no token after a position that selects is
  // predicted.
  std::vector<std::optional<Fidelity>> measure_fidelity(const LossRequest& request,
                                                        std::vector<SequenceLosses>& losses);

  const SweepPlanner& planner() const { return planner_; }

  // Loads weights that stay on the device, as the first sweep does otherwise; it ends after a layer
  // for which `stopped` returns true.
  void load_weights(const std::function<bool()>& stopped);

  void set_progress(SweepProgress progress) { progress_ = std::move(progress); }
  // With a clock the device waits at every visit.
  void set_clock(VisitClock clock) { clock_ = std::move(clock); }

 private:
  struct Wave;
  struct Stream;
  struct Passed;
  struct PrefixRows;

  void start_progress(const SweepPlan& cut, const PatternGroups& groups);
  Wave make_wave(std::span<const std::size_t> sequences, std::int64_t chunk_rows) const;
  // Sums of the values of the wave's sequences: sums[p][i], patterns of one group.
  void sweep(const Wave& wave, std::span<const Pattern> patterns, std::span<SequenceLosses> sums,
             SweepObserver* observer);
  Passed pass(const Wave& wave, std::span<const Pattern> patterns, SweepObserver* observer);
  void sum_losses(const Wave& wave, const Tensor& prefix_hidden, const std::vector<Stream>& streams,
                  std::span<SequenceLosses> sums);
  // Compares the streams' tail rows with the reference's, and adds to the sums of KL divergences.
  void compare(const Wave& wave, const std::vector<Stream>& streams,
               std::span<SequenceLosses> kl_sums);
  void add_comparison(const Wave& wave, const RowChunk& chunk, const Stream& stream,
                      const TokenComparison& reference, const TokenComparison& comparison,
                      std::span<SequenceLosses> kl_sums);
  void normalize(std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                 std::vector<SequenceLosses>& sums) const;
  void advance_prefix(const LayerWeights& weights, const Wave& wave, const PrefixRows& prefix);
  bool feeds_together() const;
  void advance(const LayerWeights& weights, const Wave& wave, const PrefixRows& prefix,
               std::span<const Pattern> patterns, std::size_t layer, Stream stream,
               std::vector<Stream>& next);
  void branch(const LayerWeights& weights, const Wave& wave, const PrefixRows& prefix,
              std::span<const Pattern> patterns, std::size_t layer, Stream stream,
              std::vector<Stream>& next);
  Tensor allocate_residual(const RowLayout& rows) const;
  bool runs_indexer(const Pattern& pattern, std::size_t layer) const;
  void select(const LayerWeights& weights, std::size_t layer, const RowChunk& chunk,
              const QueryRows& in, const RowLayout& key_rows, const Tensor& keys,
              const Tensor& sets);
  SublayerInput fill_keys(const LayerWeights& weights, const std::vector<RowChunk>& chunks,
                          const Tensor& hidden, const RowLayout& key_rows, const KeyRows& keys);
  KeyRows tail_keys(const LayerWeights& weights, const Wave& wave, const PrefixRows& prefix,
                    const Tensor& hidden, bool indexed, SublayerInput& in);
  void timed(Visit visit, std::size_t layer, const std::function<void()>& body);
  void visit_done();

  const ModelConfig& config_;
  WeightSource& weights_;
  Backend& backend_;
  const TokenSet& tokens_;
  SweepPlanner planner_;
  Decoder decoder_;
  SweepProgress progress_;
  VisitClock clock_;
  SweepGoal goal_;
  FidelityMeter* meter_ = nullptr;     // of the request, if it wants one
  SweepObserver* observer_ = nullptr;  // likewise
  std::size_t first_pattern_ = 0;      // of the group, in the request
  std::size_t first_sequence_ = 0;     // of the wave, in the request
  std::size_t visits_done_ = 0;
  std::size_t visits_total_ = 0;
};

}  // namespace indexcache
