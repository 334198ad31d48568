// SPDX-License-Identifier: Apache-2.0
#include "search/overlap_pass.h"

namespace indexcache {
namespace {

// Keeps the sets of one wave until its last layer, then counts them.
class Collector : public SweepObserver {
 public:
  Collector(Overlap& overlap, Backend& backend) : overlap_(overlap), backend_(backend) {}

  void layer_done(std::size_t, std::span<const std::size_t>, const RowLayout& rows,
                  const Tensor& sets, const Tensor&) override {
    sets_.push_back(sets);
    if (sets_.size() < overlap_.layers) return;
    accumulate(overlap_, backend_, rows, sets_);
    sets_.clear();
  }

 private:
  Overlap& overlap_;
  Backend& backend_;
  std::vector<Tensor> sets_;
};

}  // namespace

OverlapPass measure_overlap(Evaluator& evaluator, Backend& backend, const Pattern& pattern,
                            std::int64_t index_topk, std::int64_t longest) {
  OverlapPass pass;
  pass.overlap.layers = pattern.layers();
  pass.overlap.index_topk = index_topk;
  pass.overlap.bucket_ends = position_buckets(index_topk, longest);
  Collector collector(pass.overlap, backend);
  pass.losses = evaluator.losses(std::span(&pattern, 1), &collector).front();
  return pass;
}

}  // namespace indexcache
