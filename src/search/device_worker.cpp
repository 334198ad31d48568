// SPDX-License-Identifier: Apache-2.0
#include "search/device_worker.h"

#include "search/overlap_pass.h"

#include <utility>

namespace indexcache {

DeviceWorker::DeviceWorker(std::string name, Backend& backend, SweepEvaluator evaluator,
                           std::shared_ptr<const void> kept)
    : name_(std::move(name)),
      backend_(backend),
      kept_(std::move(kept)),
      evaluator_(std::move(evaluator)) {}

SweepOutput DeviceWorker::compute(const SweepTask& task, const SweepReports& reports) {
  evaluator_.set_progress(reports.progress);
  const LossRequest request{task.patterns, task.sequences, reports.part_done};
  SweepOutput output;
  if (task.extras.overlap_step > 0) {
    const SweepPlanner& planner = evaluator_.planner();
    const Pattern& pattern = task.patterns.front();
    if (task.extras.along_queries) {
      output.along_queries = prepare_query_overlap(planner.config(), planner.tokens(), pattern);
    }
    if (task.extras.compared) {
      output.indexers = prepare_indexer_overlap(planner.config(), planner.tokens(), pattern,
                                                *task.extras.compared);
    }
    OverlapPass pass = measure_overlap(evaluator_, backend_, request, task.extras.overlap_step,
                                       {output.along_queries ? &*output.along_queries : nullptr,
                                        output.indexers ? &*output.indexers : nullptr});
    output.losses = {std::move(pass.losses)};
    output.overlap = std::move(pass.overlap);
  } else if (task.extras.fidelity) {
    FidelityMeter meter = evaluator_.make_meter(request);
    output.losses = evaluator_.losses(request, nullptr, &meter);
    output.fidelity = meter.take();
  } else {
    output.losses = evaluator_.losses(request);
  }
  return output;
}

}  // namespace indexcache
