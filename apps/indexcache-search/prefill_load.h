// SPDX-License-Identifier: Apache-2.0
// What `bench ops --under-load` computes before every run: layers that keep the device as busy as a
// long prefill does. Experts draw more power than anything else, and the clock falls for all
// operations.
#pragma once

#include "bench.h"
#include "profile/device_prefill.h"

#include <cstdint>
#include <functional>

namespace indexcache {

// Throws UsageError if the weights of a model do not stay on the device: operations would wait for
// them.
void require_resident(const BenchModel& model);

class PrefillLoad {
 public:
  // `model`, whose weights are resident, must outlive the object.
  explicit PrefillLoad(BenchModel& model);

  // Queues the layers over a sequence of so many tokens. Valid until the next call.
  std::function<void()> of(std::int64_t context);

 private:
  ModelConfig config_;  // of the first layers
  DevicePrefill prefill_;
  Pattern pattern_;
};

}  // namespace indexcache
