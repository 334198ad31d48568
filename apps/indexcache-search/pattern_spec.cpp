// SPDX-License-Identifier: Apache-2.0
#include "pattern_spec.h"

#include "core/error.h"
#include "result/pattern_file.h"
#include "serving/pattern_forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string_view>

namespace indexcache {
namespace {

// The whole of `text` as a number of at least `low`.
std::optional<std::size_t> whole_number(std::string_view text, std::size_t low) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low) return std::nullopt;
  return value;
}

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

std::size_t parse_keep(const std::string& text, std::size_t layers) {
  const auto slash = text.find('/');
  double ratio = 0;
  if (slash != std::string::npos) {
    const auto part = whole_number(std::string_view(text).substr(0, slash), 1);
    const auto of = whole_number(std::string_view(text).substr(slash + 1), 1);
    if (part && of) ratio = static_cast<double>(*part) / static_cast<double>(*of);
  } else if (text.find('.') != std::string::npos) {
    char* end = nullptr;
    ratio = std::strtod(text.c_str(), &end);
    if (*end != '\0') ratio = 0;
  } else if (const auto count = whole_number(text, 1); count && *count <= layers) {
    return *count;
  }
  if (!(ratio > 0 && ratio <= 1)) {
    throw UsageError({fmt::format("--keep {} is not a retention", text), "--keep",
                      fmt::format("the model has {} layers", layers),
                      "a ratio such as 1/4 or 0.25, or a number of layers such as 12"});
  }
  // The small term keeps 1/4 of 16 at 4 when the ratio is not exact in binary.
  return static_cast<std::size_t>(std::ceil(ratio * static_cast<double>(layers) - 1e-9));
}

}  // namespace indexcache
