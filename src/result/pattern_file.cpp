// SPDX-License-Identifier: Apache-2.0
#include "result/pattern_file.h"

#include "core/created.h"
#include "core/error.h"
#include "io/files.h"
#include "io/yaml.h"
#include "result/run_record.h"
#include "serving/engine_export.h"
#include "serving/pattern_forms.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-pattern/1";

// With a point before an exponent: readers of YAML 1.1, Python's among them, take 1e-05 for text.
std::string number(double value) {
  std::string text = fmt::format("{}", value);
  const auto exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) {
    text.insert(exponent, ".0");
  }
  return text;
}

bool is_layer_map(const Json& json) {
  return !json.empty() && std::ranges::all_of(json.items(), [](const auto& entry) {
    return entry.key().find_first_not_of("0123456789") == std::string::npos;
  });
}

// Lists and maps of layers on one line, lists of objects an object a line.
void emit(YAML::Emitter& out, const Json& json) {
  if (json.is_object()) {
    if (is_layer_map(json)) out << YAML::Flow;
    out << YAML::BeginMap;
    for (const auto& [key, value] : json.items()) {
      out << YAML::Key << key << YAML::Value;
      emit(out, value);
    }
    out << YAML::EndMap;
  } else if (json.is_array()) {
    const bool objects = !json.empty() && json[0].is_object();
    if (!objects) out << YAML::Flow;
    out << YAML::BeginSeq;
    for (const Json& value : json) {
      if (objects) out << YAML::Flow;
      emit(out, value);
    }
    out << YAML::EndSeq;
  } else if (json.is_null()) {
    out << YAML::Null;
  } else if (json.is_string()) {
    out << YAML::DoubleQuoted << json.get<std::string>();
  } else if (json.is_number_float()) {
    out << number(json.get<double>());
  } else {
    out << json.dump();
  }
}

// The account of every input stays in run.json.
Json calibration_json(const TokenSummary& tokens) {
  Json json = token_json(tokens);
  if (json.contains("prepared")) {
    json["documents"] = json["prepared"]["total"]["documents"];
    json.erase("prepared");
  }
  return json;
}

Json layers_json(const Pattern& pattern, const Overlap& overlap) {
  Json donors = Json::object();
  Json overlaps = Json::object();
  for (const Json& entry : donor_overlap_json(pattern, overlap)) {
    const std::string layer = entry["layer"].dump();
    donors[layer] = entry["donor"];
    overlaps[layer] = entry["overlap"];
  }
  return Json{{"full", pattern.full_layers()},
              {"shared", pattern.shared_layers()},
              {"donor", donors},
              {"donor_overlap", overlaps},
              {"kept", pattern.full_count()},
              {"kept_ratio",
               static_cast<double>(pattern.full_count()) / static_cast<double>(pattern.layers())}};
}

Json search_json(const RunRecord& record, const Target& target) {
  const std::size_t count = record.baseline.full_count() - target.calibration.pattern.full_count();
  std::size_t evaluations = 0;
  Json steps = Json::array();
  for (std::size_t i = 0; i < count; ++i) {
    const Step& step = record.steps[i];
    evaluations += step.candidates.size();
    steps.push_back(Json{{"removed", step.removed},
                         {"loss", step.loss},
                         {"delta", step.loss - record.baseline_loss},
                         {"runner_up", step.runner_up ? Json(*step.runner_up) : Json()},
                         {"margin", step.runner_up ? Json(step.margin) : Json()}});
  }
  return Json{{"method", "greedy"},
              {"objective", "mean next-token loss (nats)"},
              {"target", target.request},
              {"constraints", constraints_json(record)},
              {"tie_break", "lowest layer"},
              {"evaluations", evaluations},
              {"steps", steps}};
}

Json measured_json(double baseline, const Measured& measured) {
  Json json{{"baseline_loss", baseline}, {"loss", measured.loss}};
  json.update(interval_json(measured.delta));
  json["ppl_ratio"] = std::exp(measured.delta.mean);
  json["worst_sequence"] = worst_sequence_json(measured.delta);
  return json;
}

Json result_json(const RunRecord& record, const Target& target) {
  Json json = measured_json(record.baseline_loss, target.calibration);
  json["verified_from_scratch"] = true;
  if (!target.holdout) return json;
  const double baseline = record.holdout->baseline_loss;
  Json holdout{{"tokens", token_json(record.holdout->tokens)}};
  holdout.update(measured_json(baseline, *target.holdout));
  holdout["uniform"] = Json{{"pattern", target.uniform_holdout->pattern.text()}};
  holdout["uniform"].update(measured_json(baseline, *target.uniform_holdout));
  json["holdout"] = holdout;
  return json;
}

[[noreturn]] void fail(const std::string& where, const std::string& why) {
  throw InputError({"the pattern file cannot be used", where, why,
                    "a run folder, a pattern.yaml or run.json of this tool, or a pattern as " +
                        std::string(kPatternForms)});
}

void check_donors(const Json& donors, const Pattern& pattern, const std::string& where) {
  if (!donors.is_object()) fail(where, "layers.donor is not a map");
  for (const auto& [text, donor] : donors.items()) {
    char* end = nullptr;
    const auto layer = std::strtoul(text.c_str(), &end, 10);
    if (*end == '\0' && layer < pattern.layers() && !pattern.is_full(layer) &&
        donor == pattern.donor(layer)) {
      continue;
    }
    fail(where,
         fmt::format("layers.donor says that layer {} uses layer {}, the pattern {} does not", text,
                     donor.dump(), pattern.text()));
  }
}

void check_schema(const Json& document, const char* schema, const std::string& where) {
  if (!document.contains("schema") || document["schema"] == schema) return;
  fail(where,
       fmt::format("its schema is {}, this program reads {}", document["schema"].dump(), schema));
}

// The smallest target is the last.
Pattern pattern_of_run(const Json& run, std::optional<std::size_t> layers,
                       const std::string& where) {
  check_schema(run, "indexcache-run/1", where);
  const Json& targets = run["targets"];
  if (!targets.is_array() || targets.empty() || !targets.back().is_object() ||
      !targets.back().contains("pattern")) {
    fail(where, "it has no target with a pattern");
  }
  return pattern_from_json(targets.back()["pattern"], layers, where);
}

std::filesystem::path file_of(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return path;
  for (const char* name : {"pattern.yaml", "run.json", "config.json"}) {
    if (std::filesystem::exists(path / name)) return path / name;
  }
  fail(path.string(), "the folder holds no finished run and no config.json");
}

}  // namespace

std::string to_pattern_yaml(const RunRecord& record, const Overlap& overlap, std::size_t index) {
  const Target& target = record.targets[index];
  const Pattern& pattern = target.calibration.pattern;
  Json tool = tool_json();
  tool["device"] = record.device;
  const ServedModel model{record.model.architecture, record.model.has_indexer, {}};
  const Json document{{"schema", kSchema},
                      {"tool", tool},
                      {"model", model_json(record.model)},
                      {"pattern", pattern.text()},
                      {"layers", layers_json(pattern, overlap)},
                      {"search", search_json(record, target)},
                      {"calibration", calibration_json(record.calibration)},
                      {"result", result_json(record, target)},
                      {"engines", engines_json(pattern, model)},
                      {"fingerprint", fingerprint_json(record.fingerprint)},
                      {"created", created_time()}};
  YAML::Emitter out;
  emit(out, document);
  return std::string(out.c_str()) + "\n";
}

Pattern pattern_of_document(const Json& document, std::optional<std::size_t> layers,
                            const std::string& where) {
  if (!document.is_object()) return pattern_from_json(document, layers, where);
  if (document.contains("targets")) return pattern_of_run(document, layers, where);
  if (!document.contains("pattern")) return pattern_from_json(document, layers, where);
  check_schema(document, kSchema, where);
  Pattern pattern = pattern_from_json(document["pattern"], layers, where);
  const Json shape = document.value("layers", Json());
  if (shape.is_object() && shape.contains("donor")) check_donors(shape["donor"], pattern, where);
  return pattern;
}

Json read_document(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  if (path.extension() == ".json") return parse_json(text, path.string());
  return parse_yaml(text, path.string());
}

Pattern read_pattern_file(const std::filesystem::path& path, std::optional<std::size_t> layers) {
  const std::filesystem::path file = file_of(path);
  return pattern_of_document(read_document(file), layers, file.string());
}

}  // namespace indexcache
