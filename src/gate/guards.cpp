// SPDX-License-Identifier: Apache-2.0
#include "gate/guards.h"

#include "core/error.h"
#include "serving/pipeline_stages.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

constexpr const char* kNoDonors = "the result has no donor overlap for every shared layer";
constexpr const char* kNoBaseline = "--baseline was not given";
constexpr const char* kNoDrift = "--drift was not given";
constexpr const char* kNoProfile = "--profile was not given, and no profile.json is in the folder";

Finding compared(bool within, std::optional<double> measured, std::string limit,
                 std::string detail) {
  return {measured && within, std::move(limit),
          measured ? std::optional(fmt::format("{:.6g}", *measured)) : std::nullopt,
          std::move(detail), measured};
}

Finding at_most(std::optional<double> measured, const Limit& limit, std::string detail) {
  return compared(measured && *measured <= limit.number, measured, "<= " + limit.text,
                  std::move(detail));
}

Finding at_least(std::optional<double> measured, const Limit& limit, std::string detail) {
  return compared(measured && *measured >= limit.number, measured, ">= " + limit.text,
                  std::move(detail));
}

std::string holdout_detail(const Evidence& evidence) {
  if (evidence.result.held_out() == nullptr) return "the result has no held-out sequences";
  return fmt::format("{} held-out sequences", evidence.result.holdout->tokens.sequences);
}

Finding holdout_delta(const Evidence& evidence, const Limit& limit) {
  const Measured* held = evidence.result.held_out();
  if (held == nullptr) return at_most(std::nullopt, limit, holdout_detail(evidence));
  if (!held->delta.ci95) {
    return at_most(std::nullopt, limit, "a single held-out sequence gives no interval");
  }
  return at_most(held->delta.ci95->second, limit, holdout_detail(evidence));
}

Finding sequence_delta(const Evidence& evidence, const Limit& limit) {
  const Measured* held = evidence.result.held_out();
  if (held == nullptr || !held->delta.largest) {
    return at_most(std::nullopt, limit, holdout_detail(evidence));
  }
  return at_most(held->delta.largest->difference, limit,
                 fmt::format("held-out sequence {}", held->delta.largest->sequence));
}

Finding ppl_ratio(const Evidence& evidence, const Limit& limit) {
  const Measured* held = evidence.result.held_out();
  return at_most(held != nullptr ? std::optional(std::exp(held->delta.mean)) : std::nullopt, limit,
                 holdout_detail(evidence));
}

// How far the predictions of the pattern are from all-Full's, if that was measured.
const Fidelity* held_out_fidelity(const Evidence& evidence) {
  const Measured* held = evidence.result.held_out();
  return held != nullptr && held->fidelity ? &*held->fidelity : nullptr;
}

std::string fidelity_detail(const Evidence& evidence) {
  const Fidelity* fidelity = held_out_fidelity(evidence);
  if (fidelity == nullptr) return "the result has no held-out comparison of predictions";
  return fmt::format("{} held-out tokens beyond index_topk", fidelity->tokens);
}

Finding kl(const Evidence& evidence, const Limit& limit) {
  const Fidelity* fidelity = held_out_fidelity(evidence);
  return at_most(fidelity ? std::optional(fidelity->kl_mean) : std::nullopt, limit,
                 fidelity_detail(evidence));
}

Finding same_top1(const Evidence& evidence, const Limit& limit) {
  const Fidelity* fidelity = held_out_fidelity(evidence);
  return at_least(fidelity ? std::optional(fidelity->same_top1) : std::nullopt, limit,
                  fidelity_detail(evidence));
}

Finding kept_ratio(const Evidence& evidence, const Limit& limit) {
  const std::size_t kept = evidence.result.pattern.full_count();
  const std::size_t layers = evidence.result.pattern.layers();
  return at_most(static_cast<double>(kept) / static_cast<double>(layers), limit,
                 fmt::format("{} of {} layers", kept, layers));
}

Finding mean_donor_overlap(const Evidence& evidence, const Limit& limit) {
  if (!evidence.result.target) return at_least(std::nullopt, limit, kNoDonors);
  const std::vector<DonorOverlap>& donors = evidence.result.target->donors;
  if (donors.empty()) return at_least(1.0, limit, "no layer is shared");
  double sum = 0;
  for (const DonorOverlap& donor : donors) sum += donor.overlap;
  return at_least(sum / static_cast<double>(donors.size()), limit,
                  fmt::format("{} shared layers", donors.size()));
}

LayerNumbers numbers_of(const Evidence& evidence) {
  return evidence.result.model ? evidence.result.model->numbers : LayerNumbers();
}

Finding donor_overlap(const Evidence& evidence, const Limit& limit) {
  if (!evidence.result.target) return at_least(std::nullopt, limit, kNoDonors);
  const std::vector<DonorOverlap>& donors = evidence.result.target->donors;
  if (donors.empty()) return at_least(1.0, limit, "no layer is shared");
  const auto least = std::ranges::min_element(donors, {}, &DonorOverlap::overlap);
  const auto below = std::ranges::count_if(
      donors, [&](const DonorOverlap& donor) { return donor.overlap < limit.number; });
  return at_least(least->overlap, limit,
                  fmt::format("layer {} has the lowest; {} below the limit",
                              numbers_of(evidence).of(least->layer), below));
}

// A pattern that begins with S cannot be read, so this always passes; gates may state it.
Finding first_layer_full(const Evidence& evidence, const Limit&) {
  const char first = evidence.result.pattern.text()[0];
  return {first == 'F', "F", std::string(1, first),
          fmt::format("layer {}", numbers_of(evidence).of(0))};
}

// The first layer of each stage that has a letter must be F.
Finding stages(const Evidence& evidence, const std::vector<std::size_t>& starts,
               std::string limit) {
  const Pattern& pattern = evidence.result.pattern;
  const LayerNumbers numbers = numbers_of(evidence);
  std::vector<std::size_t> shared;
  for (const std::size_t letter : numbers.letters_from(starts)) {
    if (!pattern.is_full(letter)) shared.push_back(numbers.of(letter));
  }
  return {shared.empty(), std::move(limit),
          shared.empty() ? "all F" : fmt::format("S at {}", fmt::join(shared, ", ")),
          fmt::format("stages begin at {}", fmt::join(starts, ", "))};
}

Finding pp_size(const Evidence& evidence, const Limit& limit) {
  const Pattern& pattern = evidence.result.pattern;
  const auto count = static_cast<std::size_t>(limit.number);
  const std::string text = fmt::format("F at the starts of {} stages", count);
  const std::size_t layers = numbers_of(evidence).model_layers(pattern.layers());
  if (count > layers) return {false, text, std::nullopt, "the model has fewer layers"};
  return stages(evidence, even_stage_starts(count, layers), text);
}

Finding pp_partition(const Evidence& evidence, const Limit& limit) {
  const Pattern& pattern = evidence.result.pattern;
  const std::string text = fmt::format("F at the starts of {}", fmt::join(limit.sizes, ", "));
  std::size_t sum = 0;
  for (const std::size_t size : limit.sizes) sum += size;
  const std::size_t layers = numbers_of(evidence).model_layers(pattern.layers());
  if (sum != layers) {
    return {false, text, std::nullopt,
            fmt::format("the stages have {} layers, the model {}", sum, layers)};
  }
  return stages(evidence, stage_starts(limit.sizes, sum), text);
}

Finding same_pattern(const Evidence& evidence, const Limit&) {
  if (evidence.baseline == nullptr) {
    return {false, "the baseline's pattern", std::nullopt, kNoBaseline};
  }
  const Pattern& own = evidence.result.pattern;
  const Pattern& other = evidence.baseline->pattern;
  std::vector<std::size_t> layers;
  for (std::size_t layer = 0; layer < own.layers(); ++layer) {
    if (own.is_full(layer) != other.is_full(layer)) layers.push_back(layer);
  }
  return {layers.empty(), other.text(), own.text(),
          layers.empty()
              ? "equal"
              : fmt::format("layers {} differ", fmt::join(numbers_of(evidence).of(layers), ", "))};
}

std::optional<std::string> field_of(const StoredPattern& stored, const std::string& name) {
  const auto found = std::ranges::find(stored.fingerprint, name, &Fingerprint::value_type::first);
  return found == stored.fingerprint.end() ? std::nullopt : std::optional(found->second);
}

// The fields that are asked for, or all that either of the two has.
std::vector<std::string> compared_fields(const Evidence& evidence, const Limit& limit) {
  std::vector<std::string> names = limit.fields;
  if (!names.empty() || evidence.baseline == nullptr || evidence.baseline->fingerprint.empty()) {
    return names;
  }
  for (const StoredPattern* stored : {evidence.baseline, &evidence.result}) {
    for (const auto& [name, value] : stored->fingerprint) {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

Finding same_fingerprint(const Evidence& evidence, const Limit& limit) {
  const std::string text = limit.fields.empty()
                               ? "the baseline's fingerprint"
                               : fmt::format("the baseline's {}", fmt::join(limit.fields, ", "));
  if (evidence.baseline == nullptr) return {false, text, std::nullopt, kNoBaseline};
  const std::vector<std::string> names = compared_fields(evidence, limit);
  if (names.empty()) return {false, text, std::nullopt, "the baseline has no fingerprint"};
  std::vector<std::string> differ;
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    const auto own = field_of(evidence.result, name);
    const auto other = field_of(*evidence.baseline, name);
    if (!own || !other) {
      missing.push_back(name);
    } else if (*own != *other) {
      differ.push_back(name);
    }
  }
  if (!missing.empty()) {
    return {false, text, std::nullopt,
            fmt::format("missing in one of the files: {}", fmt::join(missing, ", "))};
  }
  return {differ.empty(), text, differ.empty() ? "equal" : "different",
          differ.empty() ? fmt::format("{} fields", names.size())
                         : fmt::format("{} differ", fmt::join(differ, ", "))};
}

[[noreturn]] void incomparable(const StoredPattern& baseline, const std::string& why) {
  throw InputError({"the baseline cannot be compared with this result", baseline.file.string(), why,
                    "a result of the same held-out sequences and program; update the stored file "
                    "if the change is intended"});
}

Finding delta_over_baseline(const Evidence& evidence, const Limit& limit) {
  if (evidence.baseline == nullptr) return at_most(std::nullopt, limit, kNoBaseline);
  const StoredPattern& baseline = *evidence.baseline;
  const Measured* own = evidence.result.held_out();
  const Measured* other = baseline.held_out();
  if (own == nullptr || other == nullptr) {
    return at_most(std::nullopt, limit, "both results need held-out sequences");
  }
  if (evidence.result.holdout->tokens.sha256 != baseline.holdout->tokens.sha256) {
    incomparable(baseline, "it was measured on different held-out sequences");
  }
  const auto numerics = field_of(evidence.result, "numerics version");
  if (!numerics || numerics != field_of(baseline, "numerics version")) {
    incomparable(baseline, "it was measured with a different numerics version");
  }
  return at_most(own->delta.mean - other->delta.mean, limit,
                 fmt::format("{:+.6g} against {:+.6g}", own->delta.mean, other->delta.mean));
}

Finding mean_overlap_drop(const Evidence& evidence, const Limit& limit) {
  if (evidence.drift == nullptr) return at_most(std::nullopt, limit, kNoDrift);
  return at_most(evidence.drift->mean_drop(), limit, "mean over shared layers");
}

Finding overlap_drop(const Evidence& evidence, const Limit& limit) {
  if (evidence.drift == nullptr) return at_most(std::nullopt, limit, kNoDrift);
  const LayerDrift* largest = evidence.drift->largest();
  if (largest == nullptr) return at_most(0.0, limit, "no layer is shared");
  return at_most(*largest->change.drop(), limit, fmt::format("layer {}", largest->layer));
}

// The context where the speed-up is smallest in proportion to its limit.
Finding prefill_speed_up(const Evidence& evidence, const Limit& limit) {
  const auto missing = [&](std::string why) {
    return Finding{false, ">= " + limit.text, std::nullopt, std::move(why)};
  };
  if (evidence.profile == nullptr) return missing(kNoProfile);
  const Profile& profile = *evidence.profile;
  const auto pattern = profile.place_of(evidence.result.pattern);
  if (!pattern) return missing("the profile has not measured this pattern");
  double least = 0;
  Finding worst;
  for (const auto& [context, wanted] : limit.contexts) {
    const ProfilePoint* point = profile.prefill_at(context);
    if (point == nullptr) {
      return missing(fmt::format("the profile has no prefill of {} tokens", context));
    }
    const double speed_up = point->speed_up(*pattern);
    if (worst.value && speed_up / wanted >= least) continue;
    least = speed_up / wanted;
    worst = compared(speed_up >= wanted, speed_up, fmt::format(">= {}", wanted),
                     fmt::format("{} tokens, {}", context, profile.device));
  }
  return worst;
}

}  // namespace

const std::vector<GuardKind>& guard_kinds() {
  static const std::vector<GuardKind> kinds = {
      {"max_holdout_delta", LimitKind::number,
       "upper end of the 95% interval of the held-out loss increase, nats per token",
       holdout_delta},
      {"max_sequence_delta", LimitKind::number,
       "loss increase of the worst held-out sequence, nats per token", sequence_delta},
      {"max_ppl_ratio", LimitKind::number, "held-out perplexity over that of all-Full", ppl_ratio},
      {"max_kl", LimitKind::number,
       "mean KL divergence from all-Full's predictions, held out, nats per token beyond index_topk",
       kl},
      {"min_same_top1", LimitKind::ratio,
       "share of held-out tokens beyond index_topk whose most likely token stays the same",
       same_top1},
      {"max_kept_ratio", LimitKind::ratio, "share of layers that run their indexer", kept_ratio},
      {"min_mean_donor_overlap", LimitKind::ratio,
       "overlap of shared layers with their donors, on average", mean_donor_overlap},
      {"min_donor_overlap", LimitKind::ratio, "overlap of every shared layer with its donor",
       donor_overlap},
      {"first_layer_full", LimitKind::flag, "the first layer of the pattern runs its indexer",
       first_layer_full},
      {"pp_size", LimitKind::stages,
       "the first layer of every pipeline stage runs its indexer, stages cut evenly by vLLM or "
       "SGLang",
       pp_size},
      {"pp_partition", LimitKind::partition,
       "the first layer of every pipeline stage of these sizes runs its indexer", pp_partition},
      {"same_pattern", LimitKind::flag, "the pattern equals that of the baseline", same_pattern},
      {"same_fingerprint", LimitKind::fields,
       "fields of the fingerprint equal those of the baseline", same_fingerprint},
      {"max_delta_over_baseline", LimitKind::number,
       "held-out loss increase above the baseline's, nats per token", delta_over_baseline},
      {"max_mean_overlap_drop", LimitKind::ratio,
       "drop of the mean donor overlap on new data (--drift)", mean_overlap_drop},
      {"max_overlap_drop", LimitKind::ratio,
       "drop of any layer's donor overlap on new data (--drift)", overlap_drop},
      {"min_prefill_speedup_at", LimitKind::contexts,
       "measured speed-up of a prefill of so many tokens (--profile)", prefill_speed_up},
  };
  return kinds;
}

}  // namespace indexcache
