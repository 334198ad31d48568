// SPDX-License-Identifier: Apache-2.0
#include "result/distillation.h"

#include "io/files.h"
#include "io/json_field.h"
#include "result/parts_json.h"

#include <algorithm>

namespace indexcache {
namespace {

Json number_or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

Json curve_json(const std::vector<TrainingPoint>& curve) {
  Json json = Json::array();
  for (const TrainingPoint& point : curve) {
    json.push_back({{"step", point.step}, {"divergences", point.divergences}});
  }
  return json;
}

std::vector<TrainingPoint> curve_from_json(const JsonField& field, std::size_t layers) {
  std::vector<TrainingPoint> curve;
  for (const JsonField& point : field.elements()) {
    curve.push_back({point.at("step").integer(0), point.at("divergences").numbers(0)});
    if (curve.back().divergences.size() != layers) {
      point.at("divergences").fail("expected one number per trained layer");
    }
  }
  return curve;
}

Json layer_json(const TrainedLayer& layer) {
  return {{"layer", layer.layer},
          {"end", layer.end},
          {"attention_mass",
           {{"before", number_or_null(layer.mass_before)},
            {"after", number_or_null(layer.mass_after)}}}};
}

TrainedLayer layer_from_json(const JsonField& field, std::size_t layers) {
  const JsonField mass = field.at("attention_mass");
  const auto share = [&](const char* key) -> std::optional<double> {
    const auto value = mass.nullable(key);
    return value ? std::optional(value->number(0, 1.001)) : std::nullopt;
  };
  const std::size_t layer = field.at("layer").count(0, layers - 1);
  return {layer, field.at("end").count(layer + 1, layers), share("before"), share("after")};
}

Json stage_json(const TrainingStage& stage) {
  return {{"name", stage.name},
          {"steps", stage.steps},
          {"steps_done", stage.steps_done},
          {"rate", stage.rate},
          {"schedule", stage.schedule},
          {"batch", stage.batch},
          {"query_interval", stage.query_interval},
          {"clip", stage.clip},
          {"validation_loss", stage.validation_loss},
          {"training", curve_json(stage.training)},
          {"validation", curve_json(stage.validation)}};
}

TrainingStage stage_from_json(const JsonField& field, std::size_t layers) {
  return {.name = name_from_json(field.at("name")),
          .steps = field.at("steps").integer(1),
          .steps_done = field.at("steps_done").integer(0),
          .rate = field.at("rate").number(0, 1),
          .schedule = name_from_json(field.at("schedule")),
          .batch = field.at("batch").integer(1),
          .query_interval = field.at("query_interval").integer(1),
          .clip = field.at("clip").number(0, kMostNats),
          .training = curve_from_json(field.at("training"), layers),
          .validation = curve_from_json(field.at("validation"), layers),
          .validation_loss = loss_from_json(field.at("validation_loss"))};
}

Json judged_json(const JudgedPattern& judged) {
  Json json{{"name", judged.name}, {"indexers", judged.indexers}};
  json.update(to_json(judged.measured));
  return json;
}

JudgedPattern judged_from_json(const JsonField& field, const Distillation& d) {
  const ResultShape shape{d.model.layers, d.model.has_indexer, 0, 0, true};
  return {name_from_json(field.at("name")), name_from_json(field.at("indexers")),
          measured_from_json(field, shape, d.judge.sequences)};
}

Json judge_json(const Distillation& d) {
  Json judge{{"tokens", to_json(d.judge)},
             {"held_out", d.judge_is_held_out},
             {"baseline_loss", d.baseline_loss},
             {"baseline_sequence_losses", d.baseline_losses},
             {"patterns", Json::array()}};
  for (const JudgedPattern& judged : d.judged) judge["patterns"].push_back(judged_json(judged));
  return judge;
}

void read_judge(const JsonField& field, Distillation& d) {
  d.judge = tokens_from_json(field.at("tokens"));
  d.judge_is_held_out = field.at("held_out").boolean();
  d.baseline_loss = loss_from_json(field.at("baseline_loss"));
  d.baseline_losses = losses_from_json(field.at("baseline_sequence_losses"), d.judge.sequences);
  for (const JsonField& pattern : field.at("patterns").elements()) {
    d.judged.push_back(judged_from_json(pattern, d));
  }
}

}  // namespace

const JudgedPattern* Distillation::find(const std::string& name,
                                        const std::string& indexers) const {
  const auto found = std::ranges::find_if(judged, [&](const JudgedPattern& one) {
    return one.name == name && one.indexers == indexers;
  });
  return found == judged.end() ? nullptr : &*found;
}

Json to_json(const Distillation& d) {
  Json json{{"schema", kDistillationSchema},
            {"tool", tool_json(d.provenance)},
            {"device", d.provenance.device},
            {"created", created_json(d.provenance)},
            {"complete", d.complete},
            {"model", to_json(d.model)},
            {"fingerprint", fingerprint_json(d.fingerprint)},
            {"pattern", d.pattern.text()},
            {"teacher", d.teacher},
            {"training", to_json(d.training)},
            {"validation", to_json(d.validation)},
            {"validation_loss_before", d.validation_loss_before},
            {"layers", Json::array()},
            {"stages", Json::array()},
            {"judge", judge_json(d)},
            {"chosen", d.chosen},
            {"gain", d.gain},
            {"change", interval_json(d.change)},
            {"warnings", d.warnings}};
  for (const TrainedLayer& layer : d.layers) json["layers"].push_back(layer_json(layer));
  for (const TrainingStage& stage : d.stages) json["stages"].push_back(stage_json(stage));
  return json;
}

Distillation distillation_from_json(const Json& document, const std::string& where) {
  const JsonSource source{
      "the distillation cannot be read", where,
      "a distill.json that this version wrote; `distill --restart` makes it anew"};
  const JsonField root(document, source);
  root.at("schema").require(kDistillationSchema);
  const ModelSummary model = model_from_json(root.at("model"));
  const ResultShape shape{model.layers, model.has_indexer, 0, 0, true};
  Distillation d{.provenance = provenance_from_json(root),
                 .model = model,
                 .fingerprint = fingerprint_from_json(root.at("fingerprint")),
                 .pattern = pattern_from_json(root.at("pattern"), shape),
                 .teacher = name_from_json(root.at("teacher")),
                 .training = tokens_from_json(root.at("training")),
                 .validation = tokens_from_json(root.at("validation")),
                 .judge = {},
                 .baseline_losses = {},
                 .layers = {},
                 .stages = {},
                 .validation_loss_before = loss_from_json(root.at("validation_loss_before")),
                 .judged = {},
                 .chosen = name_from_json(root.at("chosen")),
                 .change = {},
                 .gain = root.at("gain").boolean(),
                 .warnings = {},
                 .complete = root.at("complete").boolean()};
  for (const JsonField& layer : root.at("layers").elements()) {
    d.layers.push_back(layer_from_json(layer, model.layers));
  }
  for (const JsonField& stage : root.at("stages").elements()) {
    d.stages.push_back(stage_from_json(stage, d.layers.size()));
  }
  read_judge(root.at("judge"), d);
  for (const JsonField& warning : root.at("warnings").elements()) {
    d.warnings.push_back(warning.text());
  }
  const JudgedPattern* before = d.find("pattern", "checkpoint");
  const JudgedPattern* after = d.find("pattern", d.chosen);
  if (before == nullptr || after == nullptr) root.at("judge").fail("the pattern is missing");
  d.change = interval_from_json(root.at("change"));
  d.change.per_sequence = differences(after->measured.losses, before->measured.losses);
  d.change.largest = largest_difference(d.change.per_sequence);
  return d;
}

Distillation read_distillation(const std::filesystem::path& path) {
  const std::filesystem::path file =
      std::filesystem::is_directory(path) ? path / kDistillationFile : path;
  return distillation_from_json(parse_json(read_file(file), file.string()), file.string());
}

}  // namespace indexcache
