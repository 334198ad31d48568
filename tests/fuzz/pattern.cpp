// SPDX-License-Identifier: Apache-2.0
// pattern.yaml and run.json, as a pattern and as a stored result.
#include "fuzz/target.h"
#include "io/yaml.h"
#include "result/pattern_file.h"
#include "result/stored_result.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return indexcache::fuzz::run(data, size, [](std::string_view text) {
    const indexcache::Json document = indexcache::parse_yaml(text, "x");
    try {
      const auto result = indexcache::result_of_document(document, "", "x");
      if (result.pattern.empty()) __builtin_trap();
    } catch (const indexcache::InputError&) {
      // It may still be one of the bare forms.
    }
    indexcache::pattern_of_document(document, std::nullopt, "x");
  });
}
