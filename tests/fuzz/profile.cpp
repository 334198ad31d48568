// SPDX-License-Identifier: Apache-2.0
// profile.json: what is accepted is the same again after it was written and read, and is printed.
#include "fuzz/target.h"
#include "present/profile_text.h"
#include "profile/profile_json.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    const auto profile = indexcache::profile_from_json(indexcache::parse_json(text, "x"), "x");
    if (indexcache::profile_from_json(indexcache::to_json(profile), "x") != profile) {
      __builtin_trap();
    }
    indexcache::profile_text(profile);
  });
}
