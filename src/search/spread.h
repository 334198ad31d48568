// SPDX-License-Identifier: Apache-2.0
// Computes tasks on several workers at once: each has a thread of its own, which takes the next
// task, the longest that is left, as soon as it is free.
#pragma once

#include "search/sweep_cut.h"
#include "search/sweep_worker.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace indexcache {

// What a worker did so far.
struct WorkerUse {
  std::string name;
  std::size_t tasks = 0;
  double busy_seconds = 0;   // trainings included
  std::size_t students = 0;  // indexers that were trained on it
};

// What all of them did; `seconds` is the time in which they could work.
struct SpreadUse {
  std::vector<WorkerUse> workers;
  double seconds = 0;

  // 1 - busy / available time of all workers; 0 before any work.
  double idle_share() const;
  // What was done after `earlier`, a copy of this object.
  SpreadUse since(const SpreadUse& earlier) const;
};

// Called on the thread that calls spread(). Both may be empty.
struct SpreadReports {
  std::function<void(std::size_t task, const LossPart& part)> part_done;
  SweepProgress progress;  // in visits of all tasks
};

// The outputs, [tasks]. `estimates` are those of the tasks. With one worker everything is computed
// on the calling thread. If a worker fails, or a report throws, the others end at their next visit;
// every part that was final has been reported when the failure is thrown. Adds to `use`, whose
// workers must be those of `workers`.
std::vector<SweepOutput> spread(std::span<const std::unique_ptr<SweepWorker>> workers,
                                std::span<const SweepTask> tasks,
                                std::span<const SweepEstimate> estimates,
                                const SpreadReports& reports, SpreadUse& use);

}  // namespace indexcache
