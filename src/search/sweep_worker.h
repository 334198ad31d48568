// SPDX-License-Identifier: Apache-2.0
// What computes sweeps: a device of this process (device_worker.h), or one of another process.
//
// A request is cut into tasks, and any worker may compute any of them: results depend only on
// patterns and sequences. Everything in an output belongs to a pattern and a sequence, or is an
// integer, so outputs can be merged in any order.
#pragma once

#include "search/evaluator.h"
#include "search/fidelity.h"
#include "search/indexer_overlap.h"
#include "search/overlap.h"
#include "search/query_overlap.h"
#include "search/sweep_evaluator.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// What is wanted of a sweep besides losses.
struct SweepExtras {
  bool fidelity = false;
  // Compare the index sets of every so many positions of all layers; 0: none. One pattern only.
  std::int64_t overlap_step = 0;
  bool along_queries = false;  // compare those of neighboring queries; needs overlap_step
  // Compare those of the exact indexer with those of this one; needs overlap_step.
  IndexerMethod compared = std::nullopt;

  bool operator==(const SweepExtras&) const = default;
};

struct SweepTask {
  std::vector<Pattern> patterns;       // without the reference
  std::vector<std::size_t> sequences;  // positions in the token set, ascending
  SweepExtras extras = {};
};

struct SweepOutput {
  std::vector<SequenceLosses> losses;               // [patterns][sequences]
  std::vector<std::vector<FidelitySums>> fidelity;  // [patterns][sequences]; empty if not wanted
  Overlap overlap;                                  // without layers if not wanted
  std::optional<QueryOverlap> along_queries;
  std::optional<IndexerOverlap> indexers;
};

// Called while a task is computed, on the thread that computes it. Both may be empty; what they
// throw ends the task.
struct SweepReports {
  PartDone part_done;      // positions of patterns are those in the task
  SweepProgress progress;  // of the task
};

class SweepWorker {
 public:
  virtual ~SweepWorker() = default;

  // For records: "cuda:1", or "rank 2 cuda:0".
  virtual std::string name() const = 0;

  // One task at a time, on any thread. Throws what a sweep throws.
  virtual SweepOutput compute(const SweepTask& task, const SweepReports& reports) = 0;

  // Called instead if there is no task for the worker: does now, while others compute, what its
  // first task would have to begin with. Ends soon after `stopped` returns true.
  virtual void prepare(const std::function<bool()>& stopped) { (void)stopped; }
};

}  // namespace indexcache
