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
  Collector(const ModelConfig& config, Overlap& overlap, const OverlapExtras& extras,
            Backend& backend, std::int64_t row_bytes)
      : config_(config),
        overlap_(overlap),
        extras_(extras),
        backend_(backend),
        row_bytes_(row_bytes) {}

  std::int64_t kept_row_bytes() const override { return row_bytes_; }

  void layer_done(std::size_t of_model, std::span<const std::size_t>, const RowLayout& rows,
                  const Tensor& sets, const Tensor&) override {
    const auto number = static_cast<std::int64_t>(of_model);
    if (!config_.selects(number)) return;
    const std::size_t layer = config_.letter_of(number);
    if (extras_.along_queries != nullptr) compare_queries(layer, rows, sets);
    sets_.push_back(overlap_.query_step == 1 ? sets : sample_of(rows, sets));
    if (sets_.size() < overlap_.layers) return;
    accumulate(overlap_, backend_, sampled(rows, overlap_.query_step), sets_);
    sets_.clear();
  }

  // Lets the other method select from the same.
  void selected(std::size_t of_model, Decoder& decoder, const Selection& exact) override {
    if (extras_.indexers == nullptr) return;
    const std::size_t layer = config_.letter_of(static_cast<std::int64_t>(of_model));
    IndexerOverlap& overlap = *extras_.indexers;
    const Tensor sets =
        backend_.allocate(exact.rows.total, exact.sets.cols(), DType::i32, Memory::index_sets);
    decoder.select(overlap.method, exact.rows, exact.asked, exact.key_rows, exact.keys, sets);
    const auto found = std::ranges::find(overlap.layers, layer);
    accumulate(overlap, static_cast<std::size_t>(found - overlap.layers.begin()), exact.rows,
               backend_.common_counts(exact.sets, sets));
  }

 private:
  void compare_queries(std::size_t layer, const RowLayout& rows, const Tensor& sets) {
    QueryOverlap& overlap = *extras_.along_queries;
    const auto found = std::ranges::find(overlap.layers, layer);
    if (found == overlap.layers.end()) return;
    accumulate(overlap, backend_, static_cast<std::size_t>(found - overlap.layers.begin()), rows,
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

  const ModelConfig& config_;
  Overlap& overlap_;
  OverlapExtras extras_;
  Backend& backend_;
  std::int64_t row_bytes_;
  std::vector<Tensor> sets_;
};

}  // namespace

std::int64_t overlap_row_bytes(const ModelConfig& config, std::int64_t query_step) {
  const auto layers = static_cast<std::int64_t>(config.letters());
  return 4 * config.index_topk * layers / query_step + 1;
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
                            std::int64_t query_step, const OverlapExtras& extras) {
  const SweepPlanner& planner = evaluator.planner();
  const ModelConfig& config = planner.config();
  OverlapPass pass;
  pass.overlap.layers = request.patterns.front().layers();
  pass.overlap.index_topk = config.index_topk;
  pass.overlap.bucket_ends =
      position_buckets(config.first_selecting_position(), planner.tokens().longest());
  pass.overlap.query_step = query_step;
  std::int64_t row_bytes = overlap_row_bytes(config, query_step);
  if (extras.indexers != nullptr) row_bytes += 4 * config.index_topk;
  Collector collector(config, pass.overlap, extras, backend, row_bytes);
  pass.losses = evaluator.losses(request, &collector).front();
  return pass;
}

OverlapPass measure_overlap(SweepEvaluator& evaluator, Backend& backend, const Pattern& pattern,
                            const OverlapExtras& extras) {
  return measure_overlap(evaluator, backend, {std::span(&pattern, 1), evaluator.all_sequences()},
                         overlap_query_step(evaluator.planner()), extras);
}

}  // namespace indexcache
