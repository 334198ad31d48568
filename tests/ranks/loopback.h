// SPDX-License-Identifier: Apache-2.0
// Ranks that are threads of one process: what they say to each other without MPI.
#pragma once

#include "ranks/communicator.h"

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace indexcache::test {

// The letters of all ranks.
struct LoopbackNetwork {
  explicit LoopbackNetwork(int ranks) : boxes(static_cast<std::size_t>(ranks)) {}

  std::mutex mutex;
  std::vector<std::deque<Letter>> boxes;
};

class LoopbackCommunicator : public Communicator {
 public:
  LoopbackCommunicator(std::shared_ptr<LoopbackNetwork> network, int rank)
      : network_(std::move(network)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(network_->boxes.size()); }
  void send(int to, std::string bytes) override {
    const std::lock_guard lock(network_->mutex);
    network_->boxes[static_cast<std::size_t>(to)].push_back({rank_, std::move(bytes)});
  }
  std::optional<Letter> receive() override {
    const std::lock_guard lock(network_->mutex);
    auto& box = network_->boxes[static_cast<std::size_t>(rank_)];
    if (box.empty()) return std::nullopt;
    Letter letter = std::move(box.front());
    box.pop_front();
    return letter;
  }
  bool all_sent() override { return true; }
  void finish() override {}

 private:
  std::shared_ptr<LoopbackNetwork> network_;
  int rank_;
};

}  // namespace indexcache::test
