// SPDX-License-Identifier: Apache-2.0
// A gate's YAML: what is accepted has a guard.
#include "fuzz/target.h"
#include "gate/gate_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    if (indexcache::parse_gate(std::string(text), "x").guards.empty()) __builtin_trap();
  });
}
