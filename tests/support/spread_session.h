// SPDX-License-Identifier: Apache-2.0
// A model on several backends of one process.
#pragma once

#include "search/device_worker.h"
#include "search/spread_evaluator.h"
#include "support/files.h"
#include "support/session.h"

#include <deque>
#include <memory>
#include <utility>
#include <vector>

namespace indexcache::test {

inline constexpr SweepMemory kRoomy{.memory_bytes = std::int64_t{4} << 30};

class SpreadSession {
 public:
  explicit SpreadSession(std::size_t workers, Placement placement = Placement::resident) {
    for (std::size_t w = 0; w < workers; ++w) {
      devices_.emplace_back(data("dsa-mini"), std::nullopt, placement, 1);
      use.workers.push_back({"CPU"});
    }
  }

  const ModelConfig& config() const { return devices_.front().model.config; }

  SpreadEvaluator evaluator(const TokenSet& tokens, const SweepGoal& goal = {},
                            const SweepMemory& memory = kRoomy) {
    std::vector<std::unique_ptr<SweepWorker>> workers;
    for (auto& device : devices_) {
      workers.push_back(std::make_unique<DeviceWorker>("CPU", device.backend,
                                                       device.evaluator(tokens, memory, goal)));
    }
    auto& first = devices_.front();
    return {std::move(workers),
            SweepPlanner(config(), first.backend, tokens, memory, goal.reference), rates(),
            first.evaluator(tokens, memory, goal).weights(), use};
  }

  SweepRates rates() {
    return {[this](std::int64_t length) {
              return estimated_costs(config(), std::span(&length, 1), devices_.front().backend,
                                     Placement::resident, 1);
            },
            0};
  }

  SpreadUse use;

 private:
  std::deque<Session<>> devices_;
};

}  // namespace indexcache::test
