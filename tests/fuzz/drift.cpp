// SPDX-License-Identifier: Apache-2.0
// drift.json of both schemas: what is accepted is the same again after it was written and read.
#include "result/drift.h"

#include "fuzz/target.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    const auto drift = indexcache::drift_from_json(indexcache::parse_json(text, "x"), "x");
    if (indexcache::drift_from_json(indexcache::to_json(drift), "x") != drift) __builtin_trap();
    indexcache::drift_table(drift);
  });
}
