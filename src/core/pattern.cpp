// SPDX-License-Identifier: Apache-2.0
#include "core/pattern.h"

#include "core/error.h"
#include "core/frequency.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

constexpr const char* kPatternHelp =
    "one letter per decoder layer (of DeepSeek-V4: per layer of ratio 4), F (runs its indexer) or "
    "S (reuses the nearest earlier F), beginning with F";

}  // namespace

Pattern Pattern::parse(std::string_view text, std::string_view origin) {
  const std::string where(origin);
  if (text.empty()) throw InputError({"the pattern is empty", where, "", kPatternHelp});
  for (std::size_t layer = 0; layer < text.size(); ++layer) {
    if (text[layer] == 'F' || text[layer] == 'S') continue;
    throw InputError({"the pattern contains a character other than F and S", where,
                      fmt::format("letter {} of \"{}\"", layer + 1, text), kPatternHelp});
  }
  if (text[0] != 'F') {
    throw InputError({"the pattern starts with S", where,
                      "its first layer has no earlier one whose index set it could reuse",
                      kPatternHelp});
  }
  return Pattern(std::string(text));
}

Pattern Pattern::from_full_layers(const std::vector<bool>& full) {
  std::string text(full.size(), 'S');
  for (std::size_t layer = 0; layer < full.size(); ++layer) {
    if (full[layer]) text[layer] = 'F';
  }
  return parse(text);
}

Pattern Pattern::all_full(std::size_t layers) {
  return parse(std::string(layers, 'F'));
}

Pattern Pattern::uniform(std::size_t layers, std::size_t period) {
  return parse(frequency_schedule(FrequencyRule::c, layers, static_cast<std::int64_t>(period),
                                  /*offset=*/0));
}

std::size_t Pattern::full_count() const {
  return std::ranges::count(text_, 'F');
}

std::size_t Pattern::donor(std::size_t layer) const {
  return text_.rfind('F', layer);
}

std::vector<std::size_t> Pattern::full_layers() const {
  std::vector<std::size_t> found;
  for (std::size_t layer = 0; layer < layers(); ++layer) {
    if (is_full(layer)) found.push_back(layer);
  }
  return found;
}

std::vector<std::size_t> Pattern::shared_layers() const {
  std::vector<std::size_t> found;
  for (std::size_t layer = 0; layer < layers(); ++layer) {
    if (!is_full(layer)) found.push_back(layer);
  }
  return found;
}

Pattern Pattern::with_shared(std::size_t layer) const {
  std::string text = text_;
  text.at(layer) = 'S';
  return parse(text);
}

Pattern Pattern::with_full(std::size_t layer) const {
  std::string text = text_;
  text[layer] = 'F';
  return Pattern(std::move(text));
}

std::vector<std::size_t> true_positions(const std::vector<bool>& mask) {
  std::vector<std::size_t> found;
  for (std::size_t at = 0; at < mask.size(); ++at) {
    if (mask[at]) found.push_back(at);
  }
  return found;
}

void check_letters(const Pattern& pattern, std::size_t layers, std::string_view origin) {
  if (pattern.layers() == layers) return;
  throw InputError({"the pattern has the wrong length", std::string(origin),
                    fmt::format("it has {} letters, patterns of this model have {} (MTP layers do "
                                "not count)",
                                pattern.layers(), layers),
                    kPatternHelp});
}

void check_fits(const Pattern& pattern, const std::vector<bool>& has_indexer,
                std::string_view origin) {
  check_letters(pattern, has_indexer.size(), origin);
  for (std::size_t layer = 0; layer < has_indexer.size(); ++layer) {
    if (!pattern.is_full(layer) || has_indexer[layer]) continue;
    throw InputError({"the pattern is F where the checkpoint has no indexer", std::string(origin),
                      fmt::format("layer {} has no indexer tensors", layer),
                      "make that layer S; `indexcache-search inspect MODEL` shows which layers "
                      "have an indexer"});
  }
}

}  // namespace indexcache
