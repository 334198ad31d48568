// SPDX-License-Identifier: Apache-2.0
#include "search/model_overlap.h"

#include <algorithm>
#include <span>

namespace indexcache {
namespace {

std::int64_t stored_rows(std::int64_t rows, std::int64_t step) {
  return (rows + step - 1) / step;
}

// Sees the sets of some layers, which are given as letters, one sequence at a time.
class SetVisitor : public SweepObserver {
 public:
  SetVisitor(std::vector<std::size_t> letters, std::int64_t step, const ModelConfig& config)
      : letters_(std::move(letters)), step_(step), config_(config) {}

  void layer_done(std::size_t layer, std::span<const std::size_t>, const RowLayout& rows,
                  const Tensor& sets, const Tensor&) final {
    const auto number = static_cast<std::int64_t>(layer);
    if (config_.selects(number)) {
      const auto found = std::ranges::find(letters_, config_.letter_of(number));
      if (found != letters_.end()) {
        visit_all(static_cast<std::size_t>(found - letters_.begin()), rows, sets);
      }
    }
    // Waves come in the order of sequences.
    if (number + 1 == config_.layers) first_sequence_ += rows.segments.size();
  }

 protected:
  // `rows` and `sets` are those of every step-th position of a sequence in letters[n].
  virtual void visit(std::size_t n, std::size_t sequence, const RowLayout& rows,
                     const Tensor& sets) = 0;

 private:
  void visit_all(std::size_t n, const RowLayout& rows, const Tensor& sets) {
    for (std::size_t s = 0; s < rows.segments.size(); ++s) {
      const Segment& segment = rows.segments[s];
      if (segment.rows == 0) continue;
      RowLayout kept;
      kept.segments.push_back({0, stored_rows(segment.rows, step_), segment.first_position, step_});
      kept.total = kept.segments.front().rows;
      visit(n, first_sequence_ + s, kept,
            sets.row_range(segment.first_row, segment.rows).every(step_));
    }
  }

  std::vector<std::size_t> letters_;
  std::int64_t step_;
  const ModelConfig& config_;
  std::size_t first_sequence_ = 0;
};

class SetKeeper : public SetVisitor {
 public:
  SetKeeper(StoredSets& stored, Backend& backend, const ModelConfig& config)
      : SetVisitor(stored.layers, stored.step, config), stored_(stored), backend_(backend) {}

 protected:
  void visit(std::size_t n, std::size_t sequence, const RowLayout&, const Tensor& sets) override {
    stored_.sets[n][sequence] = backend_.download_indices(sets);
  }

 private:
  StoredSets& stored_;
  Backend& backend_;
};

class SetComparer : public SetVisitor {
 public:
  SetComparer(ModelOverlap& overlap, const StoredSets& stored, Backend& backend,
              const ModelConfig& config)
      : SetVisitor(stored.layers, stored.step, config),
        overlap_(overlap),
        stored_(stored),
        backend_(backend) {}

  // The other model's sets of one sequence.
  std::int64_t kept_row_bytes() const override { return 4 * overlap_.index_topk; }

 protected:
  void visit(std::size_t n, std::size_t sequence, const RowLayout& rows,
             const Tensor& sets) override {
    const Tensor others = backend_.upload(std::span<const std::int32_t>(stored_.sets[n][sequence]),
                                          sets.rows(), sets.cols());
    const std::vector<std::int32_t> common = backend_.common_counts(others, sets);
    accumulate(overlap_, n, rows, common);
    for (std::size_t i = 0; i < common.size(); ++i) {
      const std::int64_t position = rows.segments.front().position(static_cast<std::int64_t>(i));
      add_worst(overlap_.worst_queries[n], {common[i], sequence, position});
    }
  }

 private:
  static void add_worst(std::vector<QueryInCommon>& worst, const QueryInCommon& query) {
    if (worst.size() == kWorstQueries && query >= worst.back()) return;
    worst.insert(std::ranges::upper_bound(worst, query), query);
    if (worst.size() > kWorstQueries) worst.pop_back();
  }

  ModelOverlap& overlap_;
  const StoredSets& stored_;
  Backend& backend_;
};

}  // namespace

std::int64_t stored_query_step(const ModelConfig& config, const TokenSet& tokens,
                               const Pattern& pattern, std::int64_t bytes) {
  const std::int64_t first = config.first_selecting_position();
  const auto layers = static_cast<std::int64_t>(pattern.full_count());
  const auto needed = [&](std::int64_t step) {
    std::int64_t rows = 0;
    for (const auto& sequence : tokens.sequences) {
      rows += stored_rows(
          std::max<std::int64_t>(static_cast<std::int64_t>(sequence.size()) - first, 0), step);
    }
    return 4 * config.index_topk * layers * rows;
  };
  std::int64_t step = 1;
  while (step < tokens.longest() && needed(step) > bytes) step *= 2;
  return step;
}

StoredSets keep_sets(SweepEvaluator& evaluator, Backend& backend, const Pattern& pattern,
                     std::int64_t step, SequenceLosses& losses) {
  StoredSets stored{step, pattern.full_layers(), {}};
  const std::size_t sequences = evaluator.all_sequences().size();
  stored.sets.assign(stored.layers.size(), std::vector<std::vector<std::int32_t>>(sequences));
  SetKeeper keeper(stored, backend, evaluator.planner().config());
  losses = evaluator.losses({{&pattern, 1}, evaluator.all_sequences()}, &keeper).front();
  return stored;
}

ModelOverlap compare_sets(SweepEvaluator& evaluator, Backend& backend, const Pattern& pattern,
                          const StoredSets& stored, SequenceLosses& losses) {
  const SweepPlanner& planner = evaluator.planner();
  ModelOverlap overlap;
  static_cast<SetOverlap&>(overlap) = prepare_set_overlap(
      planner.config(), planner.tokens(), pattern, planner.config().first_selecting_position());
  overlap.query_step = stored.step;
  overlap.worst_queries.resize(overlap.layers.size());
  SetComparer comparer(overlap, stored, backend, planner.config());
  losses = evaluator.losses({{&pattern, 1}, evaluator.all_sequences()}, &comparer).front();
  return overlap;
}

}  // namespace indexcache
