// SPDX-License-Identifier: Apache-2.0
// Prefills of one sequence of random tokens by a model on a device.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "model/config.h"
#include "model/weights.h"
#include "profile/prefill.h"
#include "search/sweep_evaluator.h"

#include <cstdint>
#include <optional>

namespace indexcache {

class DevicePrefill : public PrefillTimer {
 public:
  // The references must outlive the object.
  DevicePrefill(const ModelConfig& config, WeightSource& weights, Backend& backend,
                SweepMemory memory)
      : config_(config), weights_(weights), backend_(backend), memory_(memory) {}

  // Whether the device has room for a pass of this length.
  bool fits(std::int64_t context) const;

  // Throws ResourceError if it has none.
  void begin(std::int64_t context) override;
  // Computes the loss as well.
  void warm_up(const Pattern& pattern) override;
  double time(const Pattern& pattern) override;
  ComponentProfile time_components(const Pattern& pattern) override;
  double time_set_copy() override;
  // Queues a prefill; the device may still be at it afterwards.
  void queue(const Pattern& pattern) { evaluator_->prefill(pattern); }

 private:
  TokenSet random_tokens(std::int64_t context) const;

  const ModelConfig& config_;
  WeightSource& weights_;
  Backend& backend_;
  SweepMemory memory_;
  TokenSet tokens_;
  std::optional<SweepEvaluator> evaluator_;  // of tokens_
};

}  // namespace indexcache
