// SPDX-License-Identifier: Apache-2.0
#include "pattern_spec.h"

#include "core/error.h"
#include "result/pattern_file.h"
#include "serving/pattern_forms.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string_view>

namespace indexcache {
namespace {

constexpr const char* kDigits = "0123456789";

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

// The letters of a string that has one for each layer of the model; else the string.
std::string without_other_layers(const std::string& spec, const LayerNumbers& numbers,
                                 std::size_t letters) {
  const bool per_layer = spec.size() == numbers.model_layers(letters) &&
                         spec.find_first_not_of("FS.") == std::string::npos;
  if (numbers.are_all() || !per_layer) return spec;
  std::string text;
  for (const std::size_t layer : numbers.list()) text += spec[layer];
  return text;
}

// The letters of a list of F layers, as another list; else the string.
std::string with_letters(const std::string& spec, const LayerNumbers& numbers) {
  if (numbers.are_all() || spec.find_first_not_of("[]0123456789, ") != std::string::npos) {
    return spec;
  }
  std::vector<std::size_t> letters;
  for (std::size_t at = spec.find_first_of(kDigits); at < spec.size();
       at = spec.find_first_of(kDigits, at)) {
    const std::size_t end = std::min(spec.find_first_not_of(kDigits, at), spec.size());
    const std::size_t layer = std::stoul(spec.substr(at, std::min<std::size_t>(end - at, 9)));
    const std::optional<std::size_t> letter = numbers.letter_of(layer);
    if (!letter) {
      throw InputError({"the pattern names a layer that has no indexer", spec,
                        fmt::format("layer {} selects nothing", layer),
                        fmt::format("some of layers {}", fmt::join(numbers.list(), ", "))});
    }
    letters.push_back(*letter);
    at = end;
  }
  return fmt::format("[{}]", fmt::join(letters, ", "));
}

// Whether a text was meant as a name, as "run" or "patterns/glm.yaml", and not as F and S.
bool looks_like_path(const std::string& text) {
  if (text.find_first_of("{[:,") != std::string::npos) return false;
  if (text.find_first_not_of("0123456789 ") == std::string::npos) return false;
  const auto letters = std::ranges::count_if(
      text, [](char c) { return std::string_view("FSfs.").find(c) != std::string_view::npos; });
  return 2 * letters < std::ssize(text);
}

}  // namespace

Pattern parse_pattern_text(const std::string& text, std::optional<std::size_t> layers) {
  if (looks_like_path(text)) {
    throw InputError({"not a pattern", text,
                      "no file or folder has this name, and it is not a pattern itself",
                      fmt::format("a run folder, a pattern file, {}", kPatternForms)});
  }
  return parse_pattern_form(text, layers, "pattern " + text);
}

Pattern parse_pattern_spec(const std::string& given, const std::vector<bool>& has_indexer,
                           const LayerNumbers& numbers) {
  const std::size_t layers = has_indexer.size();
  const std::string spec = with_letters(without_other_layers(given, numbers, layers), numbers);
  if (spec == "full") return Pattern::from_full_layers(has_indexer);
  std::optional<Pattern> pattern = as_engine(spec, layers);
  if (!pattern && std::filesystem::exists(spec)) pattern = read_pattern_file(spec, layers);
  if (!pattern) pattern = parse_pattern_text(spec, layers);
  check_fits(*pattern, has_indexer, spec);
  return *pattern;
}

}  // namespace indexcache
