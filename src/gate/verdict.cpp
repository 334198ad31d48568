// SPDX-License-Identifier: Apache-2.0
#include "gate/verdict.h"

#include "core/error.h"
#include "result/pattern_file.h"
#include "serving/pipeline_stages.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

namespace indexcache {
namespace {

// What a guard found; no `value` where it could not be measured.
struct Finding {
  bool passed = false;
  std::string limit;
  std::optional<std::string> value;
  std::string detail;
};

[[noreturn]] void incomparable(const std::filesystem::path& file, const std::string& why) {
  throw InputError({"the baseline cannot be compared with this result", file.string(), why,
                    "a result of the same model; update the stored file where the change is "
                    "intended"});
}

Finding at_most(std::optional<double> measured, const Json& limit, std::string detail) {
  return {measured && *measured <= limit.get<double>(), "<= " + limit.dump(),
          measured ? std::optional(fmt::format("{:.6g}", *measured)) : std::nullopt,
          std::move(detail)};
}

Finding at_least(std::optional<double> measured, const Json& limit, std::string detail) {
  return {measured && *measured >= limit.get<double>(), ">= " + limit.dump(),
          measured ? std::optional(fmt::format("{:.6g}", *measured)) : std::nullopt,
          std::move(detail)};
}

class Judge {
 public:
  Judge(const StoredResult& result, const std::optional<StoredResult>& baseline,
        const std::optional<Drift>& drift)
      : result_(result), baseline_(baseline), drift_(drift) {
    if (baseline_) check_comparable();
    if (drift_ && drift_->pattern != result_.pattern) {
      throw InputError({"the drift file is not of this result", drift_->file.string(),
                        "it was measured for another pattern",
                        "overlap --against with the result that is checked"});
    }
  }

  Finding judge(const Guard& guard) const {
    using Method = Finding (Judge::*)(const Json&) const;
    static const std::map<std::string, Method> methods = {
        {"max_holdout_delta", &Judge::holdout_delta},
        {"max_sequence_delta", &Judge::sequence_delta},
        {"max_ppl_ratio", &Judge::ppl_ratio},
        {"max_kept_ratio", &Judge::kept_ratio},
        {"min_mean_donor_overlap", &Judge::mean_donor_overlap},
        {"min_donor_overlap", &Judge::donor_overlap},
        {"first_layer_full", &Judge::first_layer_full},
        {"pp_size", &Judge::pp_size},
        {"pp_partition", &Judge::pp_partition},
        {"same_pattern", &Judge::same_pattern},
        {"same_fingerprint", &Judge::same_fingerprint},
        {"max_delta_over_baseline", &Judge::delta_over_baseline},
        {"max_mean_overlap_drop", &Judge::mean_overlap_drop},
        {"max_overlap_drop", &Judge::overlap_drop},
    };
    return (this->*methods.at(guard.name))(guard.limit);
  }

 private:
  static Json field(const StoredResult& result, const std::string& name) {
    return result.fingerprint.is_object() ? result.fingerprint.value(name, Json()) : Json();
  }

  void check_comparable() const {
    if (baseline_->pattern.size() != result_.pattern.size()) {
      incomparable(baseline_->file, fmt::format("it has {} layers, the result {}",
                                                baseline_->pattern.size(), result_.pattern.size()));
    }
    const auto architecture = [](const StoredResult& result) {
      return result.model.is_object() ? result.model.value("architecture", Json()) : Json();
    };
    if (architecture(*baseline_) != architecture(result_)) {
      incomparable(baseline_->file,
                   fmt::format("it is of {}, the result of {}", architecture(*baseline_).dump(),
                               architecture(result_).dump()));
    }
  }

  std::optional<double> held_out(std::optional<double> StoredHoldout::*number) const {
    if (!result_.holdout) return std::nullopt;
    return (*result_.holdout).*number;
  }

  std::string holdout_detail() const {
    if (!result_.holdout) return "the result has no held-out sequences";
    return fmt::format("{} held-out sequences", result_.holdout->sequences);
  }

  Finding holdout_delta(const Json& limit) const {
    const auto upper = held_out(&StoredHoldout::upper);
    const bool single = held_out(&StoredHoldout::delta) && !upper;
    return at_most(upper, limit,
                   single ? "one held-out sequence gives no interval" : holdout_detail());
  }

  Finding sequence_delta(const Json& limit) const {
    const auto worst = held_out(&StoredHoldout::worst);
    return at_most(worst, limit,
                   worst && result_.holdout->worst_sequence
                       ? fmt::format("held-out sequence {}", *result_.holdout->worst_sequence)
                       : holdout_detail());
  }

  Finding ppl_ratio(const Json& limit) const {
    const auto delta = held_out(&StoredHoldout::delta);
    return at_most(delta ? std::optional(std::exp(*delta)) : std::nullopt, limit, holdout_detail());
  }

  Finding kept_ratio(const Json& limit) const {
    const auto kept = std::ranges::count(result_.pattern, 'F');
    const double ratio = static_cast<double>(kept) / static_cast<double>(result_.pattern.size());
    return at_most(ratio, limit, fmt::format("{} of {} layers", kept, result_.pattern.size()));
  }

  bool shares_nothing() const { return result_.pattern.find('S') == std::string::npos; }

  Finding mean_donor_overlap(const Json& limit) const {
    if (!result_.donors) return at_least(std::nullopt, limit, kNoDonors);
    if (shares_nothing()) return at_least(1.0, limit, "no layer is shared");
    double sum = 0;
    for (const DonorOverlap& donor : *result_.donors) sum += donor.overlap;
    return at_least(sum / static_cast<double>(result_.donors->size()), limit,
                    fmt::format("{} shared layers", result_.donors->size()));
  }

  Finding donor_overlap(const Json& limit) const {
    if (!result_.donors) return at_least(std::nullopt, limit, kNoDonors);
    if (shares_nothing()) return at_least(1.0, limit, "no layer is shared");
    const auto least = std::ranges::min_element(*result_.donors, {}, &DonorOverlap::overlap);
    const auto below = std::ranges::count_if(*result_.donors, [&](const DonorOverlap& donor) {
      return donor.overlap < limit.get<double>();
    });
    return at_least(least->overlap, limit,
                    fmt::format("layer {} is the lowest; {} below", least->layer, below));
  }

  Finding first_layer_full(const Json&) const {
    return {result_.pattern[0] == 'F', "F", std::string(1, result_.pattern[0]), "layer 0"};
  }

  Finding stages(const std::vector<std::size_t>& starts, std::string limit) const {
    std::vector<std::size_t> shared;
    for (const std::size_t start : starts) {
      if (result_.pattern[start] == 'S') shared.push_back(start);
    }
    return {shared.empty(), std::move(limit),
            shared.empty() ? "all F" : fmt::format("S at {}", fmt::join(shared, ", ")),
            fmt::format("stages begin at {}", fmt::join(starts, ", "))};
  }

  Finding pp_size(const Json& limit) const {
    const auto count = limit.get<std::size_t>();
    const std::string text = fmt::format("F at the starts of {} stages", count);
    if (count > result_.pattern.size()) {
      return {false, text, std::nullopt, "the model has fewer layers"};
    }
    return stages(even_stage_starts(count, result_.pattern.size()), text);
  }

  Finding pp_partition(const Json& limit) const {
    const auto sizes = limit.get<std::vector<std::size_t>>();
    const std::string text = fmt::format("F at the starts of {}", fmt::join(sizes, ", "));
    std::size_t sum = 0;
    for (const std::size_t size : sizes) sum += size;
    if (sum != result_.pattern.size()) {
      return {false, text, std::nullopt,
              fmt::format("the stages have {} layers, the model {}", sum, result_.pattern.size())};
    }
    return stages(stage_starts(sizes, sum), text);
  }

  Finding same_pattern(const Json&) const {
    if (!baseline_) return {false, "the baseline's pattern", std::nullopt, kNoBaseline};
    std::vector<std::size_t> layers;
    for (std::size_t layer = 0; layer < result_.pattern.size(); ++layer) {
      if (result_.pattern[layer] != baseline_->pattern[layer]) layers.push_back(layer);
    }
    return {layers.empty(), baseline_->pattern, result_.pattern,
            layers.empty() ? "equal" : fmt::format("layers {} differ", fmt::join(layers, ", "))};
  }

  Finding same_fingerprint(const Json& limit) const {
    std::vector<std::string> names;
    if (limit.is_array()) {
      names = limit.get<std::vector<std::string>>();
    } else if (baseline_ && baseline_->fingerprint.is_object()) {
      for (const auto& [name, value] : baseline_->fingerprint.items()) names.push_back(name);
      for (const auto& [name, value] : result_.fingerprint.items()) {
        if (std::ranges::find(names, name) == names.end()) names.push_back(name);
      }
    }
    const std::string text =
        "the baseline's " +
        (limit.is_array() ? fmt::format("{}", fmt::join(names, ", ")) : std::string("fingerprint"));
    if (!baseline_) return {false, text, std::nullopt, kNoBaseline};
    if (names.empty()) return {false, text, std::nullopt, "the baseline has no fingerprint"};
    std::vector<std::string> differ;
    std::vector<std::string> missing;
    for (const std::string& name : names) {
      const Json own = field(result_, name);
      const Json other = field(*baseline_, name);
      if (own.is_null() || other.is_null()) {
        missing.push_back(name);
      } else if (own != other) {
        differ.push_back(name);
      }
    }
    if (!missing.empty()) {
      return {false, text, std::nullopt,
              fmt::format("not in both files: {}", fmt::join(missing, ", "))};
    }
    return {differ.empty(), text, differ.empty() ? "equal" : "different",
            differ.empty() ? fmt::format("{} fields", names.size())
                           : fmt::format("{} differ", fmt::join(differ, ", "))};
  }

  Finding delta_over_baseline(const Json& limit) const {
    if (!baseline_) return at_most(std::nullopt, limit, kNoBaseline);
    if (!result_.holdout || !result_.holdout->delta || !baseline_->holdout ||
        !baseline_->holdout->delta) {
      return at_most(std::nullopt, limit, "both need held-out sequences");
    }
    if (result_.holdout->tokens_sha256 != baseline_->holdout->tokens_sha256 ||
        result_.holdout->tokens_sha256.empty()) {
      incomparable(baseline_->file, "its held-out sequences are others");
    }
    const std::string numerics = "numerics version";
    if (field(result_, numerics).is_null() ||
        field(result_, numerics) != field(*baseline_, numerics)) {
      incomparable(baseline_->file, "its numerics version is another");
    }
    return at_most(*result_.holdout->delta - *baseline_->holdout->delta, limit,
                   fmt::format("{:+.6g} against {:+.6g}", *result_.holdout->delta,
                               *baseline_->holdout->delta));
  }

  Finding mean_overlap_drop(const Json& limit) const {
    if (!drift_) return at_most(std::nullopt, limit, kNoDrift);
    return at_most(drift_->mean_drop, limit, "mean over shared layers");
  }

  Finding overlap_drop(const Json& limit) const {
    if (!drift_) return at_most(std::nullopt, limit, kNoDrift);
    return at_most(drift_->largest_drop, limit, fmt::format("layer {}", drift_->largest_layer));
  }

  static constexpr const char* kNoDonors = "the result has no donor overlap for every shared layer";
  static constexpr const char* kNoBaseline = "no --baseline is given";
  static constexpr const char* kNoDrift = "no --drift is given";

  const StoredResult& result_;
  const std::optional<StoredResult>& baseline_;
  const std::optional<Drift>& drift_;
};

}  // namespace

bool Verdict::passed() const {
  return std::ranges::all_of(guards, &GuardResult::passed);
}

Drift read_drift(const std::filesystem::path& path) {
  const Json json = read_document(path);
  const auto fail = [&](const std::string& why) {
    throw InputError({"not a drift file", path.string(), why,
                      "the drift.json that `overlap --against RUN` writes"});
  };
  if (!json.is_object() || json.value("schema", Json()) != "indexcache-drift/1") {
    fail("its schema is not indexcache-drift/1");
  }
  const Json drop = json.value("drop", Json());
  if (!drop.is_object() || !drop.contains("mean") || !drop["mean"].is_number() ||
      !drop.contains("largest") || !drop["largest"].is_number() || !drop.contains("layer") ||
      !drop["layer"].is_number_unsigned() || !json.contains("pattern") ||
      !json["pattern"].is_string()) {
    fail("it has no drop of mean, largest and layer, or no pattern");
  }
  return {path, json["pattern"].get<std::string>(), drop["mean"].get<double>(),
          drop["largest"].get<double>(), drop["layer"].get<std::size_t>()};
}

Verdict apply_gate(const Gate& gate, const StoredResult& result,
                   const std::optional<StoredResult>& baseline, const std::optional<Drift>& drift) {
  const Judge judge(result, baseline, drift);
  Verdict verdict{.gate = gate,
                  .result = result,
                  .baseline = baseline,
                  .drift_file = drift ? std::optional(drift->file) : std::nullopt,
                  .guards = {}};
  for (const Guard& guard : gate.guards) {
    Finding finding = judge.judge(guard);
    verdict.guards.push_back({guard, finding.passed && finding.value.has_value(),
                              std::move(finding.limit), finding.value.value_or("missing"),
                              std::move(finding.detail)});
  }
  return verdict;
}

}  // namespace indexcache
