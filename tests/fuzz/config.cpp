// SPDX-License-Identifier: Apache-2.0
// config.json, and every serving engine's reading of its sharing keys.
#include "model/config.h"

#include "fuzz/target.h"
#include "io/json.h"
#include "serving/pattern_forms.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    const indexcache::Json json = indexcache::parse_foreign_json(text, "x");
    try {
      const auto config = indexcache::parse_config(json, "x");
      if (config.native_full.size() != config.letters()) __builtin_trap();
    } catch (const indexcache::InputError&) {
      // The engines' reading is more tolerant.
    }
    indexcache::pattern_from_json(json, std::nullopt, "x");
  });
}
