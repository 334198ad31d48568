// SPDX-License-Identifier: Apache-2.0
// A pattern in every form that a file may have. A document that names its schema is readable as a
// pattern exactly if it is as a result (fuzz target result), and holds the same pattern.
#include "fuzz/target.h"
#include "io/yaml.h"
#include "result/pattern_file.h"

#include <optional>

namespace {

using namespace indexcache;

template <typename Read>
std::optional<Pattern> accepted(const Read& read) {
  try {
    return read();
  } catch (const InputError&) {
    return std::nullopt;
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::run(data, size, [](std::string_view text) {
    const Json document = parse_yaml(text, "x");
    const auto pattern = accepted([&] { return pattern_of_document(document, std::nullopt, "x"); });
    const auto stored =
        accepted([&] { return stored_pattern_of_document(document, "", "x").pattern; });
    if (stored && stored != pattern) __builtin_trap();
    if (has_schema(document) && pattern.has_value() != stored.has_value()) __builtin_trap();
  });
}
