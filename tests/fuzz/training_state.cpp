// SPDX-License-Identifier: Apache-2.0
// The text of a saved training state of two students.
#include "distill/training_state.h"

#include "fuzz/target.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    const auto state = indexcache::parse_training_state(text, "x", {{"device", "cpu"}}, 2);
    for (const auto& stage : state.stages) {
      if (stage.best_divergence.size() != 2) __builtin_trap();
    }
  });
}
