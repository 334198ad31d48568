// SPDX-License-Identifier: Apache-2.0
#include "search/spread.h"

#include "search/task_board.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <thread>

namespace indexcache {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kReportEvery{100};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Ends a task whose result nobody wants any more. TaskBoard does not keep it: it is not the first.
struct GivenUp : std::exception {
  const char* what() const noexcept override { return "another worker failed"; }
};

// The life of a worker's thread.
void work(SweepWorker& worker, std::span<const SweepTask> tasks, TaskBoard& board, WorkerUse& use) {
  const auto born = Clock::now();
  bool had_task = false;
  try {
    while (const auto task = board.take()) {
      had_task = true;
      const auto begin = Clock::now();
      const SweepReports reports{[&](const LossPart& part) { board.add_part(*task, part); },
                                 [&](std::size_t done, std::size_t total) {
                                   if (board.stopped()) throw GivenUp();
                                   board.set_progress(*task, done, total);
                                 }};
      board.finish(*task, worker.compute(tasks[*task], reports));
      use.busy_seconds += seconds_since(begin);
      ++use.tasks;
    }
    if (!had_task) {
      worker.prepare([&board] { return board.stopped(); });
      use.busy_seconds += seconds_since(born);
    }
  } catch (...) {
    board.fail(std::current_exception());
  }
  board.leave();
}

// Progress of all tasks together, in visits.
void report_progress(const SweepProgress& progress, std::span<const SweepEstimate> estimates,
                     const TaskBoard& board) {
  if (!progress) return;
  double done = 0;
  std::size_t total = 0;
  const std::vector<double> shares = board.progress();
  for (std::size_t task = 0; task < shares.size(); ++task) {
    done += shares[task] * static_cast<double>(estimates[task].visits);
    total += estimates[task].visits;
  }
  progress(static_cast<std::size_t>(std::llround(done)), total);
}

std::vector<SweepOutput> compute_here(SweepWorker& worker, std::span<const SweepTask> tasks,
                                      const SpreadReports& reports, WorkerUse& use) {
  std::vector<SweepOutput> outputs;
  for (std::size_t task = 0; task < tasks.size(); ++task) {
    const auto begin = Clock::now();
    SweepReports of_task{{}, reports.progress};
    if (reports.part_done) {
      of_task.part_done = [&](const LossPart& part) { reports.part_done(task, part); };
    }
    outputs.push_back(worker.compute(tasks[task], of_task));
    use.busy_seconds += seconds_since(begin);
    ++use.tasks;
  }
  return outputs;
}

std::vector<SweepOutput> compute_in_threads(std::span<const std::unique_ptr<SweepWorker>> workers,
                                            std::span<const SweepTask> tasks,
                                            std::span<const SweepEstimate> estimates,
                                            const SpreadReports& reports, SpreadUse& use) {
  TaskBoard board(tasks.size(), workers.size());
  std::vector<std::jthread> threads;
  // Ends the threads before they are joined, if a report throws.
  struct StopAtEnd {
    TaskBoard& board;
    ~StopAtEnd() { board.stop(); }
  };
  const StopAtEnd stop{board};
  for (std::size_t w = 0; w < workers.size(); ++w) {
    threads.emplace_back([&, w] { work(*workers[w], tasks, board, use.workers[w]); });
  }
  for (bool ended = false; !ended;) {
    const TaskBoard::News news = board.wait(kReportEvery);
    ended = news.ended;
    for (const TaskPart& part : news.parts) {
      if (reports.part_done) {
        reports.part_done(part.task, {part.patterns, part.sequences, part.losses});
      }
    }
    report_progress(reports.progress, estimates, board);
  }
  threads.clear();
  return board.take_outputs();
}

}  // namespace

double SpreadUse::idle_share() const {
  if (seconds == 0) return 0;
  double busy = 0;
  for (const WorkerUse& worker : workers) busy += worker.busy_seconds;
  return std::max(1 - busy / (seconds * static_cast<double>(workers.size())), 0.0);
}

SpreadUse SpreadUse::since(const SpreadUse& earlier) const {
  SpreadUse after = *this;
  after.seconds -= earlier.seconds;
  for (std::size_t w = 0; w < earlier.workers.size(); ++w) {
    after.workers[w].tasks -= earlier.workers[w].tasks;
    after.workers[w].busy_seconds -= earlier.workers[w].busy_seconds;
    after.workers[w].students -= earlier.workers[w].students;
  }
  return after;
}

std::vector<SweepOutput> spread(std::span<const std::unique_ptr<SweepWorker>> workers,
                                std::span<const SweepTask> tasks,
                                std::span<const SweepEstimate> estimates,
                                const SpreadReports& reports, SpreadUse& use) {
  const auto begin = Clock::now();
  std::vector<SweepOutput> outputs =
      workers.size() == 1 ? compute_here(*workers.front(), tasks, reports, use.workers.front())
                          : compute_in_threads(workers, tasks, estimates, reports, use);
  use.seconds += seconds_since(begin);
  return outputs;
}

}  // namespace indexcache
