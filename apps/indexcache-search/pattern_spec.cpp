// SPDX-License-Identifier: Apache-2.0
#include "pattern_spec.h"

#include "core/error.h"
#include "result/pattern_file.h"
#include "serving/pattern_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>

namespace indexcache {
namespace {

// "vllm:FILE" or "vllm:{JSON}", as one engine reads it.
std::optional<Pattern> as_engine(const std::string& spec, std::size_t layers) {
  const auto colon = spec.find(':');
  if (colon == std::string::npos) return std::nullopt;
  const std::vector<std::string> names = engine_names();
  if (std::ranges::find(names, spec.substr(0, colon)) == names.end()) return std::nullopt;
  const EngineProfile& profile = *choose_profile(spec.substr(0, colon), "").profile;
  const std::string source = spec.substr(colon + 1);
  const bool file = std::filesystem::is_regular_file(source);
  const Json json = file ? read_document(source) : parse_json(source, spec);
  return pattern_from_json(json, layers, spec, &profile);
}

}  // namespace

Pattern parse_pattern_spec(const std::string& spec, const std::vector<bool>& has_indexer) {
  const std::size_t layers = has_indexer.size();
  if (spec == "full") return Pattern::from_full_layers(has_indexer);
  std::optional<Pattern> pattern = as_engine(spec, layers);
  if (!pattern && std::filesystem::exists(spec)) pattern = read_pattern_file(spec, layers);
  if (!pattern) pattern = parse_pattern_form(spec, layers, "pattern " + spec);
  check_fits(*pattern, has_indexer, spec);
  return *pattern;
}

}  // namespace indexcache
