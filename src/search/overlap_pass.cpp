// SPDX-License-Identifier: Apache-2.0
#include "search/overlap_pass.h"

#include <algorithm>

namespace indexcache {
namespace {

// Rows of every step-th position of each segment.
RowLayout sampled(const RowLayout& rows, std::int64_t step) {
  RowLayout sample;
  for (const Segment& segment : rows.segments) {
    const std::int64_t count = (segment.rows + step - 1) / step;
    sample.segments.push_back({sample.total, count, segment.first_position, step});
    sample.total += count;
  }
  return sample;
}

// Keeps the sets of one wave until its last layer, then counts them. Those of neighboring queries
// are compared at once.
class Collector : public SweepObserver {
 public:
  Collector(Overlap& overlap, QueryOverlap* along_queries, Backend& backend, std::int64_t row_bytes)
      : overlap_(overlap),
        along_queries_(along_queries),
        backend_(backend),
        row_bytes_(row_bytes) {}

  std::int64_t kept_row_bytes() const override { return row_bytes_; }

  void layer_done(std::size_t layer, std::span<const std::size_t>, const RowLayout& rows,
                  const Tensor& sets, const Tensor&) override {
    if (along_queries_ != nullptr) compare_queries(layer, rows, sets);
    sets_.push_back(overlap_.query_step == 1 ? sets : sample_of(rows, sets));
    if (sets_.size() < overlap_.layers) return;
    accumulate(overlap_, backend_, sampled(rows, overlap_.query_step), sets_);
    sets_.clear();
  }

 private:
  void compare_queries(std::size_t layer, const RowLayout& rows, const Tensor& sets) {
    const auto& layers = along_queries_->layers;
    const auto found = std::ranges::find(layers, layer);
    if (found == layers.end()) return;
    accumulate(*along_queries_, backend_, static_cast<std::size_t>(found - layers.begin()), rows,
               sets);
  }

  Tensor sample_of(const RowLayout& rows, const Tensor& sets) {
    const RowLayout sample = sampled(rows, overlap_.query_step);
    Tensor kept = backend_.allocate(sample.total, sets.cols(), DType::i32, Memory::index_sets);
    for (std::size_t s = 0; s < rows.segments.size(); ++s) {
      const Segment& from = rows.segments[s];
      const Segment& to = sample.segments[s];
      if (from.rows == 0) continue;
      RowLayout identity;
      identity.append(to.rows, 0);
      backend_.copy_rows(identity,
                         sets.row_range(from.first_row, from.rows).every(overlap_.query_step),
                         identity, kept.row_range(to.first_row, to.rows));
    }
    return kept;
  }

  Overlap& overlap_;
  QueryOverlap* along_queries_;  // null if not wanted
  Backend& backend_;
  std::int64_t row_bytes_;
  std::vector<Tensor> sets_;
};

}  // namespace

std::int64_t overlap_row_bytes(const ModelConfig& config, std::int64_t query_step) {
  return 4 * config.index_topk * config.layers / query_step + 1;
}

std::int64_t overlap_query_step(const SweepPlanner& planner) {
  std::int64_t step = 1;
  while (step < planner.tokens().longest() &&
         !planner.plan(1, overlap_row_bytes(planner.config(), step)).fits) {
    step *= 2;
  }
  return step;
}

OverlapPass measure_overlap(SweepEvaluator& evaluator, Backend& backend, const LossRequest& request,
                            std::int64_t query_step, QueryOverlap* along_queries) {
  const SweepPlanner& planner = evaluator.planner();
  const ModelConfig& config = planner.config();
  OverlapPass pass;
  pass.overlap.layers = request.patterns.front().layers();
  pass.overlap.index_topk = config.index_topk;
  pass.overlap.bucket_ends =
      position_buckets(config.first_selecting_position(), planner.tokens().longest());
  pass.overlap.query_step = query_step;
  Collector collector(pass.overlap, along_queries, backend, overlap_row_bytes(config, query_step));
  pass.losses = evaluator.losses(request, &collector).front();
  return pass;
}

OverlapPass measure_overlap(SweepEvaluator& evaluator, Backend& backend, const Pattern& pattern,
                            QueryOverlap* along_queries) {
  return measure_overlap(evaluator, backend, {std::span(&pattern, 1), evaluator.all_sequences()},
                         overlap_query_step(evaluator.planner()), along_queries);
}

}  // namespace indexcache
