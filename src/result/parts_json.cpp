// SPDX-License-Identifier: Apache-2.0
#include "result/parts_json.h"

#include "core/error.h"
#include "core/utf8.h"
#include "version.h"

#include <fmt/format.h>

#include <cmath>

namespace indexcache {
namespace {

constexpr std::size_t kMostLayers = 4096;
constexpr std::size_t kLongestName = 256;

constexpr double kMostNats = 1e6;  // far beyond any mean loss

// JSON holds only UTF-8; names of files may be anything.
Json text_json(const std::string& text) {
  return printable_utf8(text);
}

Json text_or_null(const std::string& text) {
  return text.empty() ? Json() : text_json(text);
}

double kept_ratio(const Pattern& pattern) {
  return static_cast<double>(pattern.full_count()) / static_cast<double>(pattern.layers());
}

Json largest_json(const PairedDifference& difference) {
  if (!difference.largest) return nullptr;
  return Json{{"sequence", difference.largest->sequence},
              {"delta", difference.largest->difference}};
}

Json measured_json(const Measured& measured) {
  Json json{{"pattern", measured.pattern.text()}, {"loss", measured.loss}};
  json.update(interval_json(measured.delta));
  json["ppl_ratio"] = std::exp(measured.delta.mean);
  json["worst_sequence"] = largest_json(measured.delta);
  if (measured.losses.empty()) return json;
  json["sequence_losses"] = measured.losses;
  json["sequence_deltas"] = measured.delta.per_sequence;
  return json;
}

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

Measured measured_from_json(const JsonField& field, const ResultShape& shape,
                            std::size_t sequences) {
  Measured measured{.pattern = pattern_from_json(field.at("pattern"), shape),
                    .loss = loss_from_json(field.at("loss")),
                    .losses = {},
                    .delta = {}};
  PairedDifference& delta = measured.delta;
  delta.mean = loss_from_json(field.at("delta"));
  delta.ci95 = ends_from_json(field, "delta_ci95");
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
  return measured;
}

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

// The text of a name, which goes into keys and tables.
std::string name_from_json(const JsonField& field) {
  std::string name = field.text();
  if (name.empty() || name.size() > kLongestName) {
    field.fail(fmt::format("expected a name of 1 to {} bytes", kLongestName));
  }
  return name;
}

Json contenders_json(const std::vector<Contender>& contenders) {
  Json json = Json::array();
  for (const Contender& contender : contenders) {
    json.push_back(Json{{"method", text_json(contender.method)},
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

Json tool_json(const Provenance& provenance) {
  return Json{{"name", kToolName},
              {"version", text_json(provenance.tool_version)},
              {"numerics_version", provenance.numerics_version}};
}

Json created_json(const Provenance& provenance) {
  Json created{{"at", text_json(provenance.created_at)}};
  if (provenance.search_seconds) created["search_seconds"] = *provenance.search_seconds;
  if (provenance.planned_bytes && provenance.peak_bytes) {
    created["memory"] =
        Json{{"planned_bytes", *provenance.planned_bytes}, {"peak_bytes", *provenance.peak_bytes}};
  }
  return created;
}

Provenance provenance_from_json(const JsonField& document) {
  const JsonField tool = document.at("tool");
  tool.at("name").require(kToolName);
  const JsonField created = document.at("created");
  Provenance provenance{.tool_version = name_from_json(tool.at("version")),
                        .numerics_version = tool.at("numerics_version").integer(0),
                        .device = document.at("device").text(),
                        .created_at = name_from_json(created.at("at")),
                        .search_seconds = std::nullopt,
                        .planned_bytes = std::nullopt,
                        .peak_bytes = std::nullopt};
  if (const auto seconds = created.find("search_seconds")) {
    provenance.search_seconds = seconds->number(0, 1e12);
  }
  if (const auto memory = created.find("memory")) {
    provenance.planned_bytes = memory->at("planned_bytes").integer(0);
    provenance.peak_bytes = memory->at("peak_bytes").integer(0);
  }
  return provenance;
}

Json to_json(const TokenSummary& tokens) {
  Json json{{"source", text_json(tokens.source)},
            {"sha256", tokens.sha256},
            {"sequences", tokens.sequences},
            {"tokens", tokens.tokens},
            {"longest", tokens.longest}};
  if (tokens.prepared) json["prepared"] = to_json(*tokens.prepared);
  return json;
}

TokenSummary tokens_from_json(const JsonField& field) {
  TokenSummary tokens{.source = field.at("source").text(),
                      .sha256 = field.at("sha256").sha256(),
                      .sequences = field.at("sequences").count(1),
                      .tokens = field.at("tokens").integer(1),
                      .longest = field.at("longest").integer(1),
                      .prepared = std::nullopt};
  if (const auto prepared = field.find("prepared")) {
    tokens.prepared = document_account_from_json(*prepared);
  }
  return tokens;
}

Json to_json(const ModelSummary& model) {
  return Json{{"name", text_json(model.name)},
              {"architecture", text_json(model.architecture)},
              {"layers", model.layers},
              {"nextn_layers_excluded", model.mtp_layers},
              {"index_topk", model.index_topk},
              {"index_heads", model.index_heads},
              {"index_head_dim", model.index_head_dim},
              {"indexer_layers", true_positions(model.has_indexer)},
              {"existing_indexer_types", model.native_schedule},
              {"quantization", text_json(model.quantization)},
              {"mla_norm_eps", model.mla_norm_eps},
              {"config_sha256", model.config_sha256},
              {"weights_layout_sha256", model.weights_layout_sha256},
              {"tokenizer_sha256", text_or_null(model.tokenizer_sha256)}};
}

ModelSummary model_from_json(const JsonField& field) {
  const std::size_t layers = field.at("layers").count(1, kMostLayers);
  constexpr std::int64_t kMostIndexer = 1 << 22;  // selected positions, heads, width
  ModelSummary model{.name = field.at("name").text(),
                     .architecture = field.at("architecture").text(),
                     .layers = layers,
                     .mtp_layers = field.at("nextn_layers_excluded").integer(0, kMostLayers),
                     .index_topk = field.at("index_topk").integer(1, kMostIndexer),
                     .index_heads = field.at("index_heads").integer(1, kMostIndexer),
                     .index_head_dim = field.at("index_head_dim").integer(1, kMostIndexer),
                     .has_indexer = std::vector<bool>(layers),
                     .native_schedule = "",
                     .quantization = field.at("quantization").text(),
                     .mla_norm_eps = field.at("mla_norm_eps").number(),
                     .config_sha256 = field.at("config_sha256").sha256(),
                     .weights_layout_sha256 = field.at("weights_layout_sha256").sha256(),
                     .tokenizer_sha256 = ""};
  for (const std::size_t layer : field.at("indexer_layers").layers(layers)) {
    model.has_indexer[layer] = true;
  }
  const ResultShape shape{layers, {}, 0, 0, false};
  model.native_schedule = pattern_from_json(field.at("existing_indexer_types"), shape).text();
  if (const auto tokenizer = field.nullable("tokenizer_sha256")) {
    model.tokenizer_sha256 = tokenizer->sha256();
  }
  return model;
}

Json to_json(const Constraints& constraints, const Pattern& baseline) {
  return Json{{"first_full", true},
              {"pinned_full", true_positions(constraints.pinned_full)},
              {"pinned_shared", true_positions(constraints.pinned_shared)},
              {"max_run", constraints.max_run > 0 ? Json(constraints.max_run) : Json()},
              {"natively_shared", baseline.shared_layers()}};
}

Constraints constraints_from_json(const JsonField& field, std::size_t layers) {
  Constraints constraints = Constraints::none(layers);
  field.at("first_full").require(true);
  for (const std::size_t layer : field.at("pinned_full").layers(layers)) {
    constraints.pinned_full[layer] = true;
  }
  for (const std::size_t layer : field.at("pinned_shared").layers(layers)) {
    constraints.pinned_shared[layer] = true;
  }
  if (const auto most = field.nullable("max_run")) constraints.max_run = most->count(1, layers);
  return constraints;
}

Json fingerprint_json(const Fingerprint& fingerprint) {
  Json json = Json::object();
  for (const auto& [field, value] : fingerprint) json[field] = text_json(value);
  return json;
}

Fingerprint fingerprint_from_json(const JsonField& field) {
  Fingerprint fingerprint;
  for (const auto& [name, value] : field.members()) {
    if (name.empty() || name.size() > kLongestName) value.fail("its name is empty or too long");
    fingerprint.emplace_back(name, value.text());
  }
  return fingerprint;
}

Json interval_json(const PairedDifference& difference) {
  return Json{{"delta", difference.mean}, {"delta_ci95", ends_json(difference.ci95)}};
}

Pattern pattern_from_json(const JsonField& field, const ResultShape& shape) {
  const std::string text = field.text();
  try {
    const Pattern pattern = Pattern::parse(text);
    if (!shape.has_indexer.empty()) check_fits(pattern, shape.has_indexer, "");
    if (pattern.layers() == shape.layers) return pattern;
  } catch (const InputError& error) {
    field.fail(error.problem().what + ": " + error.problem().why);
  }
  field.fail(fmt::format("it has {} layers, the model has {}", text.size(), shape.layers));
}

double loss_from_json(const JsonField& field) {
  return field.number(-kMostNats, kMostNats);
}

SequenceLosses losses_from_json(const JsonField& field, std::size_t sequences) {
  SequenceLosses losses = field.numbers(-kMostNats, kMostNats);
  if (losses.size() != sequences) {
    field.fail(fmt::format("it has {} numbers, there are {} sequences", losses.size(), sequences));
  }
  return losses;
}

Json to_json(const Target& target) {
  const Pattern& pattern = target.calibration.pattern;
  Json donors = Json::array();
  for (const DonorOverlap& donor : target.donors) {
    donors.push_back(
        Json{{"layer", donor.layer}, {"donor", donor.donor}, {"overlap", donor.overlap}});
  }
  Json json{{"request", text_json(target.request)},
            {"method", text_json(target.method)},
            {"pattern", pattern.text()},
            {"full_layers", pattern.full_layers()},
            {"kept", pattern.full_count()},
            {"kept_ratio", kept_ratio(pattern)},
            {"donor_overlap", donors},
            {"verified_from_scratch", true},
            {"calibration", measured_json(target.calibration)}};
  if (target.holdout) json["holdout"] = measured_json(*target.holdout);
  if (target.uniform_holdout) json["uniform_holdout"] = measured_json(*target.uniform_holdout);
  if (!target.strategies.empty()) json["strategies"] = contenders_json(target.strategies);
  if (!target.ties.empty()) json["ties"] = contenders_json(target.ties);
  for (const HalfChoice& half : target.halves) {
    json["stability"].push_back(Json{{"pattern", half.pattern.text()}, {"regret", half.regret}});
  }
  for (const ComparedPattern& other : target.compared) {
    Json entry{{"name", text_json(other.name)}};
    entry.update(measured_json(other.holdout));
    json["compared"].push_back(entry);
  }
  if (target.random_holdout) json["random_holdout"] = random_json(*target.random_holdout);
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
  if (const auto compared = field.find("compared")) {
    for (const JsonField& entry : compared->elements()) {
      target.compared.push_back({name_from_json(entry.at("name")),
                                 measured_from_json(entry, shape, shape.holdout_sequences)});
    }
  }
  if (const auto random = field.find("random_holdout")) {
    target.random_holdout = random_from_json(*random);
  }
  return target;
}

Json to_json(const Holdout& holdout) {
  Json json = to_json(holdout.tokens);
  json["baseline_loss"] = holdout.baseline_loss;
  if (!holdout.baseline_losses.empty()) {
    json["baseline_sequence_losses"] = holdout.baseline_losses;
  }
  return json;
}

Holdout holdout_from_json(const JsonField& field, bool every_sequence) {
  Holdout holdout{.tokens = tokens_from_json(field),
                  .baseline_loss = loss_from_json(field.at("baseline_loss")),
                  .baseline_losses = {}};
  if (every_sequence) {
    holdout.baseline_losses =
        losses_from_json(field.at("baseline_sequence_losses"), holdout.tokens.sequences);
  }
  return holdout;
}

}  // namespace indexcache
