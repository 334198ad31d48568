// SPDX-License-Identifier: Apache-2.0
#include "result/stored_pattern.h"

#include "core/utf8.h"
#include "io/yaml.h"
#include "result/convert_v1.h"
#include "result/parts_json.h"
#include "result/served_model.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

constexpr const char* kPatternUnusable = "the pattern file cannot be used";
constexpr const char* kPatternRemedy =
    "a pattern.yaml that `run` wrote, or a file that contains only the pattern: a string of F and "
    "S";

Measured without_sequences(Measured measured) {
  measured.losses.clear();
  measured.delta.per_sequence.clear();
  return measured;
}

// A pattern file describes the pattern; what it was compared with is in run.json.
Target without_details(Target target) {
  target.strategies.clear();
  target.ties.clear();
  target.halves.clear();
  target.compared.clear();
  target.random_holdout.reset();
  target.calibration = without_sequences(std::move(target.calibration));
  if (target.holdout) target.holdout = without_sequences(*target.holdout);
  if (target.uniform_holdout) {
    target.uniform_holdout = without_sequences(*target.uniform_holdout);
  }
  return target;
}

// The constraints' own pattern is all-Full if the file does not have the baseline.
Json constraints_json(const StoredPattern& stored) {
  return to_json(*stored.constraints, stored.baseline ? stored.baseline->pattern
                                                      : Pattern::all_full(stored.pattern.layers()));
}

StoredPattern read_stored(const JsonField& document, const std::string& where) {
  const ResultShape any{document.at("pattern").text().size(), {}, 0, 0, false};
  StoredPattern stored{.file = where,
                       .pattern = pattern_from_json(document.at("pattern"), any),
                       .provenance = std::nullopt,
                       .model = std::nullopt,
                       .target = std::nullopt,
                       .baseline = std::nullopt,
                       .calibration = std::nullopt,
                       .holdout = std::nullopt,
                       .constraints = std::nullopt,
                       .fingerprint = {}};
  ResultShape shape = any;
  if (document.find("tool") || document.find("created")) {
    stored.provenance = provenance_from_json(document);
  }
  if (const auto model = document.find("model")) {
    stored.model = model_from_json(*model);
    shape.layers = stored.model->layers;
    shape.has_indexer = stored.model->has_indexer;
    pattern_from_json(document.at("pattern"), shape);
  }
  if (const auto tokens = document.find("calibration")) {
    stored.calibration = tokens_from_json(*tokens);
    shape.calibration_sequences = stored.calibration->sequences;
  }
  if (const auto holdout = document.find("holdout")) {
    stored.holdout = holdout_from_json(*holdout, false);
    shape.holdout_sequences = stored.holdout->tokens.sequences;
  }
  if (const auto baseline = document.find("baseline")) {
    stored.baseline = {pattern_from_json(baseline->at("pattern"), shape),
                       loss_from_json(baseline->at("loss"))};
  }
  if (const auto constraints = document.find("constraints")) {
    stored.constraints = constraints_from_json(*constraints, shape.layers);
    if (stored.baseline) {
      constraints->at("natively_shared").require(stored.baseline->pattern.shared_layers());
    }
  }
  if (const auto target = document.find("target")) {
    stored.target = target_from_json(*target, shape);
    target->at("pattern").require(stored.pattern.text());
  }
  if (const auto fingerprint = document.find("fingerprint")) {
    stored.fingerprint = fingerprint_from_json(*fingerprint);
  }
  return stored;
}

}  // namespace

const Measured* StoredPattern::held_out() const {
  return target && target->holdout ? &*target->holdout : nullptr;
}

StoredPattern stored_pattern(const Result& result, std::size_t index,
                             const std::filesystem::path& file) {
  const Target& target = result.targets[index];
  StoredPattern stored{.file = file,
                       .pattern = target.calibration.pattern,
                       .provenance = result.provenance,
                       .model = result.model,
                       .target = without_details(target),
                       .baseline = Baseline{result.baseline, result.baseline_loss},
                       .calibration = result.calibration,
                       .holdout = result.holdout,
                       .constraints = result.constraints,
                       .fingerprint = result.fingerprint};
  if (stored.holdout) stored.holdout->baseline_losses.clear();
  return stored;
}

Json to_json(const StoredPattern& stored) {
  Json json{{"schema", kPatternSchema}, {"pattern", stored.pattern.text()}};
  if (stored.provenance) {
    json["tool"] = tool_json(*stored.provenance);
    json["device"] = printable_utf8(stored.provenance->device);
  }
  if (stored.model) json["model"] = to_json(*stored.model);
  if (stored.target) json["target"] = to_json(*stored.target);
  if (stored.baseline) {
    json["baseline"] =
        Json{{"pattern", stored.baseline->pattern.text()}, {"loss", stored.baseline->loss}};
  }
  if (stored.calibration) json["calibration"] = to_json(*stored.calibration);
  json["holdout"] = stored.holdout ? to_json(*stored.holdout) : Json();
  if (stored.constraints) json["constraints"] = constraints_json(stored);
  if (stored.model) {
    const Target* target = stored.target ? &*stored.target : nullptr;
    json["engines"] = engines_json(stored.pattern, served_model(*stored.model, target));
  }
  if (!stored.fingerprint.empty()) json["fingerprint"] = fingerprint_json(stored.fingerprint);
  if (stored.provenance) json["created"] = created_json(*stored.provenance);
  return json;
}

std::string to_pattern_yaml(const Result& result, std::size_t index) {
  return to_yaml(to_json(stored_pattern(result, index, {})));
}

StoredPattern stored_pattern_from_json(const Json& document, const std::string& where) {
  const JsonSource source{kPatternUnusable, where, kPatternRemedy};
  const JsonField root(document, source);
  const std::string schema = root.at("schema").text();
  if (schema == kPatternSchemaV1) {
    const Json converted = pattern_from_v1(root);
    return read_stored(JsonField(converted, source), where);
  }
  if (schema != kPatternSchema) {
    root.at("schema").fail(fmt::format("it is \"{}\"; this program reads {} and {}", schema,
                                       kPatternSchema, kPatternSchemaV1));
  }
  return read_stored(root, where);
}

std::string pattern_file_name(std::size_t index, std::size_t count, std::size_t kept) {
  return index + 1 == count ? "pattern.yaml" : fmt::format("pattern-{}F.yaml", kept);
}

}  // namespace indexcache
