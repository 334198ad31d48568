// SPDX-License-Identifier: Apache-2.0
#include "prefill_load.h"

#include "core/error.h"

#include <algorithm>

namespace indexcache {
namespace {

// As many as give three layers with experts for each one without, and one that selects.
std::int64_t layers_of(const ModelConfig& config) {
  const auto dense = std::ranges::find(config.moe_layer, true) - config.moe_layer.begin();
  const std::int64_t wanted = 4 * std::max<std::int64_t>(dense, 1);
  const auto selecting = static_cast<std::int64_t>(config.selecting_layers().front());
  return std::min(config.layers, std::max(wanted, selecting + 1));
}

// What the model itself does in its first layers that select.
Pattern first_letters(const Pattern& pattern, std::size_t count) {
  std::vector<bool> full;
  for (std::size_t letter = 0; letter < count; ++letter) full.push_back(pattern.is_full(letter));
  return Pattern::from_full_layers(full);
}

}  // namespace

void require_resident(const BenchModel& model) {
  if (model.resident()) return;
  throw UsageError({"the weights do not stay on the device", "--under-load",
                    "operations would wait for them", "--weights resident"});
}

PrefillLoad::PrefillLoad(BenchModel& model)
    : config_(with_first_layers(model.config(), layers_of(model.config()))),
      prefill_(config_, model.weights(), model.backend(), model.memory()),
      pattern_(first_letters(model.baseline(), config_.letters())) {}

std::function<void()> PrefillLoad::of(std::int64_t context) {
  prefill_.begin(context);
  return [this] { prefill_.queue(pattern_); };
}

}  // namespace indexcache
