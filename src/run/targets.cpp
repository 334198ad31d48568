// SPDX-License-Identifier: Apache-2.0
#include "run/targets.h"

#include "core/error.h"
#include "serving/pipeline_stages.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
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

// Pins layers of the model to letters of its patterns.
class Pins {
 public:
  Pins(Constraints& constraints, const Pattern& baseline, const LayerNumbers& numbers)
      : constraints_(constraints), baseline_(baseline), numbers_(numbers) {}

  void full(std::size_t layer, const char* option) {
    const std::optional<std::size_t> letter = letter_of(layer);
    if (!letter || !baseline_.is_full(*letter)) {
      throw UsageError({fmt::format("layer {} cannot be pinned full", layer), option,
                        exists(layer) ? "it has no indexer to keep" : range_text(),
                        "indexcache-search inspect MODEL shows which layers have an indexer"});
    }
    constraints_.pinned_full[*letter] = true;
  }

  void shared(std::size_t layer) {
    const auto fail = [&](const std::string& why) {
      throw UsageError({fmt::format("layer {} cannot be pinned shared", layer), "--pin-shared", why,
                        "leave it out"});
    };
    if (!exists(layer)) fail(range_text());
    const std::optional<std::size_t> letter = letter_of(layer);
    if (!letter) fail("it has no index set, with an indexer or without");
    if (*letter == 0) fail("it has no earlier layer whose index set it could reuse");
    if (constraints_.pinned_full[*letter]) fail("--pin-full or a pipeline stage keeps it full");
    constraints_.pinned_shared[*letter] = true;
  }

 private:
  std::size_t layers() const { return numbers_.model_layers(baseline_.layers()); }
  bool exists(std::size_t layer) const { return layer < layers(); }
  std::string range_text() const {
    return fmt::format("the model has layers 0 to {}", layers() - 1);
  }
  std::optional<std::size_t> letter_of(std::size_t layer) const {
    return exists(layer) ? numbers_.letter_of(layer) : std::nullopt;
  }

  Constraints& constraints_;
  const Pattern& baseline_;
  const LayerNumbers& numbers_;
};

// First layers of the pipeline stages behind the first; CLI11 lets one option of the two through.
std::vector<std::size_t> stage_firsts(const ConstraintOptions& options, std::size_t layers) {
  if (options.pp_size > 0) return even_stage_starts(options.pp_size, layers);
  if (options.pp_partition.empty()) return {};
  return stage_starts(options.pp_partition, layers);
}

bool is_ratio(const std::string& keep) {
  return keep.find_first_of("/.") != std::string::npos;
}

// How to ask for a ratio of the indexers that exist, where fewer layers than all have one.
std::string ratio_of_indexers(const std::string& keep, std::size_t owners) {
  return fmt::format("--keep {} keeps {} of the {} indexers", parse_keep(keep, owners), keep,
                     owners);
}

std::string bound_text(const ConstraintOptions& options) {
  std::string text = "layer 0 and those pinned stay F";
  if (options.max_run > 0) {
    text += fmt::format(", at most {} consecutive S layers", options.max_run);
  }
  return text;
}

}  // namespace

std::size_t parse_keep(const std::string& text, std::size_t layers, const std::string& place) {
  const auto refuse = [&](const std::string& why) {
    throw UsageError({fmt::format("invalid {} {}", place, text), place, why,
                      "a ratio such as 1/4 or 0.25, or a number of layers such as 12"});
  };
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
  } else if (const auto count = whole_number(text, 1)) {
    if (*count <= layers) return *count;
    refuse(fmt::format("patterns of this model have only {} layers", layers));
  }
  if (ratio > 1) refuse("a ratio is at most 1");
  if (!(ratio > 0)) refuse("expected a ratio or a number of layers, both above 0");
  // The small term keeps 1/4 of 16 at 4 when the ratio is not exact in binary.
  return static_cast<std::size_t>(std::ceil(ratio * static_cast<double>(layers) - 1e-9));
}

Pattern search_baseline(const ConstraintOptions& options, const Model& model) {
  if (!options.native_sharing) return model.baseline();
  if (!model.config.sharing_problem.empty()) {
    throw InputError({"the sharing schedule in config.json cannot be used", "--native-sharing",
                      model.config.sharing_problem, "leave --native-sharing out"});
  }
  Pattern native = Pattern::from_full_layers(model.config.native_full);
  if (native.full_count() == native.layers()) {
    throw UsageError({"config.json contains no sharing schedule", "--native-sharing",
                      "in it, every layer runs its indexer", "leave --native-sharing out"});
  }
  return native;
}

Constraints make_constraints(const ConstraintOptions& options, const Pattern& baseline,
                             const LayerNumbers& numbers) {
  Constraints constraints = Constraints::none(baseline.layers());
  constraints.max_run = options.max_run;
  Pins pins(constraints, baseline, numbers);
  for (const std::size_t layer : options.pin_full) pins.full(layer, "--pin-full");
  const bool even = options.pp_size > 0;
  // The first layer of a stage that has a letter must not need a set of the stage before.
  const std::vector<std::size_t> firsts =
      numbers.letters_from(stage_firsts(options, numbers.model_layers(baseline.layers())));
  for (const std::size_t letter : firsts) {
    pins.full(numbers.of(letter), even ? "--pp-size" : "--pp-partition");
  }
  for (const std::size_t layer : options.pin_shared) pins.shared(layer);
  if (fewest_full(baseline, constraints)) return constraints;
  throw UsageError({"no pattern meets all constraints", "--max-run",
                    fmt::format("pinned or natively shared layers form a run of more than "
                                "{} S layers",
                                options.max_run),
                    "a larger --max-run, or fewer layers in --pin-shared"});
}

std::vector<std::string> warnings_of_ratios(const ConstraintOptions& options,
                                            const Pattern& baseline) {
  const std::size_t owners = baseline.full_count();
  std::vector<std::string> warnings;
  for (const std::string& text : options.keep) {
    if (!is_ratio(text) || owners == baseline.layers()) continue;
    warnings.push_back(
        fmt::format("--keep {} is a ratio of all {} layers: {} of the {} indexers stay; {}", text,
                    baseline.layers(), parse_keep(text, baseline.layers()), owners,
                    ratio_of_indexers(text, owners)));
  }
  return warnings;
}

std::vector<Request> make_requests(const ConstraintOptions& options, const Pattern& baseline,
                                   const Constraints& constraints) {
  const std::size_t owners = baseline.full_count();
  std::vector<Request> list;
  for (const std::string& text : options.keep) {
    list.push_back({text, parse_keep(text, baseline.layers())});
  }
  for (const std::size_t count : options.remove) {
    list.push_back({fmt::format("remove {}", count), count < owners ? owners - count : 0});
  }
  if (list.empty() && !options.max_rise) {
    throw UsageError({"no target was given", "command line", "",
                      "--keep 1/4 (a ratio), --keep 12 (a number of F layers), --remove 35 or "
                      "--max-rise 0.02 (nats per token)"});
  }
  const auto [fewest, most] = reachable_sizes(baseline, constraints);
  for (const Request& request : list) {
    if (request.full >= fewest && request.full <= most) continue;
    const bool misread = is_ratio(request.text) && owners < baseline.layers();
    throw UsageError(
        {fmt::format("the target \"{}\" cannot be reached", request.text), "--keep / --remove",
         fmt::format("it asks for {} F layers{}; {} layers have an indexer, {} must become S, and "
                     "at least {} must stay F ({})",
                     request.full,
                     misread ? fmt::format(", a ratio of all {} layers", baseline.layers()) : "",
                     owners, owners - most, fewest, bound_text(options)),
         fmt::format("between {} and {} F layers{}", fewest, most,
                     misread ? "; " + ratio_of_indexers(request.text, owners) : "")});
  }
  std::ranges::stable_sort(list, std::greater<>(), &Request::full);
  const auto repeated =
      std::unique(list.begin(), list.end(),
                  [](const Request& a, const Request& b) { return a.full == b.full; });
  list.erase(repeated, list.end());
  return list;
}

}  // namespace indexcache
