// SPDX-License-Identifier: Apache-2.0
// distill.json: what is accepted is the same again after it was written and read.
#include "result/distillation.h"

#include "fuzz/target.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    using namespace indexcache;
    const auto distillation = distillation_from_json(parse_json(text, "x"), "x");
    if (distillation_from_json(to_json(distillation), "x") != distillation) __builtin_trap();
  });
}
