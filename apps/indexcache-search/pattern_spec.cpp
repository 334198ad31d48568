// SPDX-License-Identifier: Apache-2.0
#include "pattern_spec.h"

#include "core/error.h"
#include "report/pattern_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string_view>

namespace indexcache {
namespace {

constexpr const char* kForms =
    "full, uniform:4, freq:4,offset:3, a string of F and S, or a pattern file";

// The whole of `text` as a number of at least `low`.
std::optional<std::size_t> whole_number(std::string_view text, std::size_t low) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low) return std::nullopt;
  return value;
}

// Value of "key:NUMBER" in a comma-separated spec.
std::optional<std::size_t> field(std::string_view spec, std::string_view key) {
  while (!spec.empty()) {
    const auto comma = std::min(spec.find(','), spec.size());
    const std::string_view part = spec.substr(0, comma);
    spec.remove_prefix(std::min(comma + 1, spec.size()));
    if (part.starts_with(key) && part.size() > key.size() && part[key.size()] == ':') {
      return whole_number(part.substr(key.size() + 1), 1);
    }
  }
  return std::nullopt;
}

[[noreturn]] void fail(const std::string& spec) {
  throw InputError({"not a pattern", spec, "", kForms});
}

Pattern generated(const std::string& spec, std::size_t layers) {
  if (spec.starts_with("uniform:")) {
    const auto period = field(spec, "uniform");
    if (!period) fail(spec);
    return Pattern::uniform(layers, *period);
  }
  const auto freq = field(spec, "freq");
  const bool has_offset = spec.find(',') != std::string::npos;
  const auto offset = has_offset ? field(spec, "offset") : std::optional<std::size_t>(2);
  if (!freq || !offset) fail(spec);
  return Pattern::frequency(layers, *freq, *offset);
}

bool is_word(const std::string& spec) {
  return std::ranges::all_of(spec, [](unsigned char c) { return std::isalnum(c) != 0; });
}

}  // namespace

Pattern parse_pattern_spec(const std::string& spec, const std::vector<bool>& has_indexer) {
  const std::size_t layers = has_indexer.size();
  if (spec == "full") return Pattern::from_full_layers(has_indexer);
  if (spec.starts_with("uniform:") || spec.starts_with("freq:")) {
    Pattern pattern = generated(spec, layers);
    check_fits(pattern, has_indexer, spec);
    return pattern;
  }
  const bool file = std::filesystem::is_regular_file(spec);
  if (!file && !is_word(spec)) fail(spec);
  Pattern pattern = file ? read_pattern_file(spec) : Pattern::parse(spec, "pattern");
  check_fits(pattern, has_indexer, file ? spec : "pattern " + spec);
  return pattern;
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
