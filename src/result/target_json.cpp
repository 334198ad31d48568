// SPDX-License-Identifier: Apache-2.0
// The writer and the reader of one target: its pattern, what was measured of it, and what it was
// compared with.
#include "core/utf8.h"
#include "result/parts_json.h"

#include <fmt/format.h>

#include <cmath>

namespace indexcache {
namespace {

using Interval = std::optional<std::pair<double, double>>;

Json ends_json(const Interval& interval) {
  return interval ? Json::array({interval->first, interval->second}) : Json();
}

Interval ends_from_json(const JsonField& field, const char* key) {
  const auto interval = field.nullable(key);
  if (!interval) return std::nullopt;
  const std::vector<double> ends = interval->numbers(-kMostNats, kMostNats);
  if (ends.size() != 2 || ends[0] > ends[1]) {
    interval->fail("expected the lower and the upper end of an interval");
  }
  return std::pair(ends[0], ends[1]);
}

Json fidelity_json(const Fidelity& fidelity) {
  Json positions = Json::array();
  for (const PositionLosses& at : fidelity.positions) {
    positions.push_back(Json{{"begin", at.begin},
                             {"end", at.end},
                             {"tokens", at.tokens},
                             {"baseline_loss", at.reference_loss},
                             {"loss", at.loss}});
  }
  return Json{{"tokens", fidelity.tokens},
              {"same_top1", fidelity.same_top1},
              {"kl_mean", fidelity.kl_mean},
              {"kl_p99", fidelity.kl_p99},
              {"positions", positions}};
}

Fidelity fidelity_from_json(const JsonField& field) {
  Fidelity fidelity{.tokens = field.at("tokens").integer(1),
                    .same_top1 = field.at("same_top1").number(0, 1),
                    .kl_mean = field.at("kl_mean").number(0, kMostNats),
                    .kl_p99 = field.at("kl_p99").number(0, kMostNats),
                    .positions = {}};
  for (const JsonField& at : field.at("positions").elements()) {
    fidelity.positions.push_back(
        {at.at("begin").integer(0), at.at("end").integer(1), at.at("tokens").integer(1),
         loss_from_json(at.at("baseline_loss")), loss_from_json(at.at("loss"))});
  }
  return fidelity;
}

double kept_ratio(const Pattern& pattern) {
  return static_cast<double>(pattern.full_count()) / static_cast<double>(pattern.layers());
}

Json largest_json(const PairedDifference& difference) {
  if (!difference.largest) return nullptr;
  return Json{{"sequence", difference.largest->sequence},
              {"delta", difference.largest->difference}};
}

}  // namespace

Json to_json(const Measured& measured) {
  Json json{{"pattern", measured.pattern.text()}, {"loss", measured.loss}};
  json.update(interval_json(measured.delta));
  json["ppl_ratio"] = std::exp(measured.delta.mean);
  json["worst_sequence"] = largest_json(measured.delta);
  if (measured.fidelity) json["fidelity"] = fidelity_json(*measured.fidelity);
  if (measured.losses.empty()) return json;
  json["sequence_losses"] = measured.losses;
  json["sequence_deltas"] = measured.delta.per_sequence;
  return json;
}

namespace {

void read_largest(const JsonField& field, std::size_t sequences, PairedDifference& delta) {
  const auto largest = field.nullable("worst_sequence");
  if (!delta.per_sequence.empty()) {
    delta.largest = largest_difference(delta.per_sequence);
    field.at("worst_sequence").require(largest_json(delta));
  } else if (largest) {
    const JsonField sequence = largest->at("sequence");
    delta.largest = {sequence.count(), loss_from_json(largest->at("delta"))};
    if (sequences > 0 && delta.largest->sequence >= sequences) {
      sequence.fail(fmt::format("there are only {} sequences", sequences));
    }
  }
}

}  // namespace

PairedDifference interval_from_json(const JsonField& field) {
  PairedDifference difference;
  difference.mean = loss_from_json(field.at("delta"));
  difference.ci95 = ends_from_json(field, "delta_ci95");
  return difference;
}

Measured measured_from_json(const JsonField& field, const ResultShape& shape,
                            std::size_t sequences) {
  Measured measured{.pattern = pattern_from_json(field.at("pattern"), shape),
                    .loss = loss_from_json(field.at("loss")),
                    .losses = {},
                    .delta = interval_from_json(field)};
  PairedDifference& delta = measured.delta;
  const double ratio = std::exp(delta.mean);
  const JsonField stored_ratio = field.at("ppl_ratio");
  if (std::abs(stored_ratio.number() - ratio) > 1e-9 * ratio) {
    stored_ratio.fail(fmt::format("a difference of {} nats is a ratio of {}", delta.mean, ratio));
  }
  if (shape.every_sequence) {
    measured.losses = losses_from_json(field.at("sequence_losses"), sequences);
    delta.per_sequence = losses_from_json(field.at("sequence_deltas"), sequences);
  }
  read_largest(field, sequences, delta);
  if (const auto fidelity = field.find("fidelity")) {
    measured.fidelity = fidelity_from_json(*fidelity);
  }
  return measured;
}

namespace {

std::vector<DonorOverlap> donors_from_json(const JsonField& field, const Pattern& pattern) {
  const std::vector<std::size_t> shared = pattern.shared_layers();
  const std::vector<JsonField> entries = field.elements();
  if (entries.size() != shared.size()) {
    field.fail(fmt::format("it has {} entries, the pattern has {} shared layers", entries.size(),
                           shared.size()));
  }
  std::vector<DonorOverlap> donors;
  for (std::size_t i = 0; i < shared.size(); ++i) {
    entries[i].at("layer").require(shared[i]);
    entries[i].at("donor").require(pattern.donor(shared[i]));
    donors.push_back({shared[i], pattern.donor(shared[i]), entries[i].at("overlap").number(0, 1)});
  }
  return donors;
}

Json contenders_json(const std::vector<Contender>& contenders) {
  Json json = Json::array();
  for (const Contender& contender : contenders) {
    json.push_back(Json{{"method", printable_utf8(contender.method)},
                        {"pattern", contender.pattern.text()},
                        {"difference", contender.difference},
                        {"difference_ci95", ends_json(contender.ci95)}});
  }
  return json;
}

Json random_json(const RandomPatterns& random) {
  return Json{{"patterns", random.patterns},
              {"mean_delta", random.mean},
              {"least_delta", random.least},
              {"most_delta", random.most}};
}

RandomPatterns random_from_json(const JsonField& field) {
  return {field.at("patterns").count(1), loss_from_json(field.at("mean_delta")),
          loss_from_json(field.at("least_delta")), loss_from_json(field.at("most_delta"))};
}

// A pattern of the target's size.
Pattern rival_from_json(const JsonField& field, const ResultShape& shape, const Pattern& chosen) {
  Pattern pattern = pattern_from_json(field, shape);
  if (pattern.full_count() != chosen.full_count()) {
    field.fail(fmt::format("it has {} F layers, the target has {}", pattern.full_count(),
                           chosen.full_count()));
  }
  return pattern;
}

std::vector<Contender> contenders_from_json(const JsonField& target, const char* key,
                                            const ResultShape& shape, const Pattern& chosen) {
  std::vector<Contender> contenders;
  const auto field = target.find(key);
  if (!field) return contenders;
  for (const JsonField& entry : field->elements()) {
    contenders.push_back({.method = name_from_json(entry.at("method")),
                          .pattern = rival_from_json(entry.at("pattern"), shape, chosen),
                          .difference = loss_from_json(entry.at("difference")),
                          .ci95 = ends_from_json(entry, "difference_ci95")});
  }
  return contenders;
}

std::vector<HalfChoice> halves_from_json(const JsonField& target, const ResultShape& shape,
                                         const Pattern& chosen) {
  std::vector<HalfChoice> halves;
  const auto field = target.find("stability");
  if (!field) return halves;
  for (const JsonField& half : field->elements()) {
    halves.push_back(
        {rival_from_json(half.at("pattern"), shape, chosen), loss_from_json(half.at("regret"))});
  }
  if (halves.size() != 2) field->fail("expected the choices of two halves");
  return halves;
}

}  // namespace

Json interval_json(const PairedDifference& difference) {
  return Json{{"delta", difference.mean}, {"delta_ci95", ends_json(difference.ci95)}};
}

namespace {

Json distilled_json(const DistilledTarget& distilled) {
  return Json{{"folder", distilled.folder},
              {"training", to_json(distilled.training)},
              {"steps", distilled.steps},
              {"held_out", distilled.held_out},
              {"without", distilled.without ? interval_json(*distilled.without) : Json()},
              {"with", interval_json(distilled.with)}};
}

DistilledTarget distilled_from_json(const JsonField& field) {
  std::optional<PairedDifference> without;
  if (const auto stored = field.nullable("without")) without = interval_from_json(*stored);
  return {.folder = name_from_json(field.at("folder")),
          .training = tokens_from_json(field.at("training")),
          .steps = field.at("steps").integer(1),
          .held_out = field.at("held_out").boolean(),
          .without = without,
          .with = interval_from_json(field.at("with"))};
}

}  // namespace

Json to_json(const Target& target) {
  const Pattern& pattern = target.calibration.pattern;
  Json donors = Json::array();
  for (const DonorOverlap& donor : target.donors) {
    donors.push_back(
        Json{{"layer", donor.layer}, {"donor", donor.donor}, {"overlap", donor.overlap}});
  }
  Json json{{"request", printable_utf8(target.request)},
            {"method", printable_utf8(target.method)},
            {"pattern", pattern.text()},
            {"full_layers", pattern.full_layers()},
            {"kept", pattern.full_count()},
            {"kept_ratio", kept_ratio(pattern)},
            {"donor_overlap", donors},
            {"verified_from_scratch", true},
            {"calibration", to_json(target.calibration)}};
  if (target.holdout) json["holdout"] = to_json(*target.holdout);
  if (target.uniform_holdout) json["uniform_holdout"] = to_json(*target.uniform_holdout);
  if (!target.strategies.empty()) json["strategies"] = contenders_json(target.strategies);
  if (!target.ties.empty()) json["ties"] = contenders_json(target.ties);
  for (const HalfChoice& half : target.halves) {
    json["stability"].push_back(Json{{"pattern", half.pattern.text()}, {"regret", half.regret}});
  }
  for (const ComparedPattern& other : target.compared) {
    Json entry{{"name", printable_utf8(other.name)}};
    entry.update(to_json(other.holdout));
    json["compared"].push_back(entry);
  }
  if (target.random_holdout) json["random_holdout"] = random_json(*target.random_holdout);
  if (target.distilled) json["distilled"] = distilled_json(*target.distilled);
  return json;
}

Target target_from_json(const JsonField& field, const ResultShape& shape) {
  Target target{.request = name_from_json(field.at("request")),
                .method = name_from_json(field.at("method")),
                .calibration =
                    measured_from_json(field.at("calibration"), shape, shape.calibration_sequences),
                .holdout = std::nullopt,
                .uniform_holdout = std::nullopt,
                .donors = {}};
  const Pattern& pattern = target.calibration.pattern;
  field.at("pattern").require(pattern.text());
  field.at("full_layers").require(pattern.full_layers());
  field.at("kept").require(pattern.full_count());
  field.at("kept_ratio").require(kept_ratio(pattern));
  field.at("verified_from_scratch").require(true);
  target.donors = donors_from_json(field.at("donor_overlap"), pattern);
  const auto held_out = [&](const char* key) -> std::optional<Measured> {
    const auto measured = field.find(key);
    if (!measured) return std::nullopt;
    if (shape.holdout_sequences == 0) measured->fail("there are no held-out sequences");
    return measured_from_json(*measured, shape, shape.holdout_sequences);
  };
  target.holdout = held_out("holdout");
  target.uniform_holdout = held_out("uniform_holdout");
  if (target.holdout) field.at("holdout").at("pattern").require(pattern.text());
  target.strategies = contenders_from_json(field, "strategies", shape, pattern);
  target.ties = contenders_from_json(field, "ties", shape, pattern);
  target.halves = halves_from_json(field, shape, pattern);
  for (const char* key : {"compared", "random_holdout"}) {
    const auto part = field.find(key);
    if (part && shape.holdout_sequences == 0) part->fail("there are no held-out sequences");
  }
  if (const auto compared = field.find("compared")) {
    for (const JsonField& entry : compared->elements()) {
      rival_from_json(entry.at("pattern"), shape, pattern);
      target.compared.push_back({name_from_json(entry.at("name")),
                                 measured_from_json(entry, shape, shape.holdout_sequences)});
    }
  }
  if (const auto random = field.find("random_holdout")) {
    target.random_holdout = random_from_json(*random);
  }
  if (const auto distilled = field.find("distilled")) {
    target.distilled = distilled_from_json(*distilled);
  }
  return target;
}

}  // namespace indexcache
