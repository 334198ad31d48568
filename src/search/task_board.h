// SPDX-License-Identifier: Apache-2.0
// Tasks of one request that threads of workers take, and what they report: the only thing that
// these threads share.
#pragma once

#include "search/sweep_worker.h"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <vector>

namespace indexcache {

// Losses of a task that are final.
struct TaskPart {
  std::size_t task;
  std::vector<std::size_t> patterns;  // positions in the task
  std::vector<std::size_t> sequences;
  std::vector<SequenceLosses> losses;
};

class TaskBoard {
 public:
  // Tasks 0, 1, … are taken in this order.
  TaskBoard(std::size_t tasks, std::size_t workers);

  // For threads of workers. take() returns nullopt when nothing is left, or after stop().
  std::optional<std::size_t> take();
  void add_part(std::size_t task, const LossPart& part);
  void set_progress(std::size_t task, std::size_t done, std::size_t total);
  void finish(std::size_t task, SweepOutput output);
  // Keeps the first failure, and stops.
  void fail(std::exception_ptr failure);
  // The last call of a thread.
  void leave();
  // Whether to give up; a task that runs ends at its next report.
  bool stopped() const;

  // For the thread that waits for them.
  struct News {
    std::vector<TaskPart> parts;
    bool ended = false;  // all threads have left
  };
  // Returns as soon as there is a part, or all have left, or after `longest`.
  News wait(std::chrono::milliseconds longest);
  void stop();
  // The share of a task that is done, 0 to 1.
  std::vector<double> progress() const;
  // After the end. Throws the first failure.
  std::vector<SweepOutput> take_outputs();

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t next_ = 0;
  std::size_t working_;
  bool stopped_ = false;
  std::exception_ptr failure_;
  std::vector<TaskPart> parts_;
  std::vector<double> progress_;
  std::vector<SweepOutput> outputs_;
};

}  // namespace indexcache
