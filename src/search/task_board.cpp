// SPDX-License-Identifier: Apache-2.0
#include "search/task_board.h"

#include <utility>

namespace indexcache {

TaskBoard::TaskBoard(std::size_t tasks, std::size_t workers)
    : working_(workers), progress_(tasks, 0.0), outputs_(tasks) {}

std::optional<std::size_t> TaskBoard::take() {
  const std::lock_guard lock(mutex_);
  if (stopped_ || next_ == outputs_.size()) return std::nullopt;
  return next_++;
}

void TaskBoard::add_part(std::size_t task, const LossPart& part) {
  const std::lock_guard lock(mutex_);
  parts_.push_back({task,
                    {part.patterns.begin(), part.patterns.end()},
                    {part.sequences.begin(), part.sequences.end()},
                    {part.losses.begin(), part.losses.end()}});
  changed_.notify_all();
}

void TaskBoard::set_progress(std::size_t task, std::size_t done, std::size_t total) {
  const std::lock_guard lock(mutex_);
  progress_[task] = static_cast<double>(done) / static_cast<double>(total);
}

void TaskBoard::finish(std::size_t task, SweepOutput output) {
  const std::lock_guard lock(mutex_);
  progress_[task] = 1;
  outputs_[task] = std::move(output);
}

void TaskBoard::fail(std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_ && !stopped_) failure_ = std::move(failure);
  stopped_ = true;
}

void TaskBoard::leave() {
  const std::lock_guard lock(mutex_);
  --working_;
  changed_.notify_all();
}

bool TaskBoard::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

TaskBoard::News TaskBoard::wait(std::chrono::milliseconds longest) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, longest, [&] { return !parts_.empty() || working_ == 0; });
  return {std::exchange(parts_, {}), working_ == 0};
}

void TaskBoard::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
}

std::vector<double> TaskBoard::progress() const {
  const std::lock_guard lock(mutex_);
  return progress_;
}

std::vector<SweepOutput> TaskBoard::take_outputs() {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  return std::move(outputs_);
}

}  // namespace indexcache
