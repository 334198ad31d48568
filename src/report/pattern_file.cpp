// SPDX-License-Identifier: Apache-2.0
#include "report/pattern_file.h"

#include "core/created.h"
#include "core/error.h"
#include "io/files.h"
#include "io/yaml.h"
#include "report/run_record.h"
#include "serving/engine_export.h"
#include "serving/pattern_forms.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

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

std::string interval(const PairedDifference& difference) {
  if (!difference.ci95) return "null";
  return fmt::format("[{}, {}]", difference.ci95->first, difference.ci95->second);
}

void emit_list(YAML::Emitter& out, const std::vector<std::size_t>& values) {
  out << YAML::Flow << YAML::BeginSeq;
  for (std::size_t value : values) out << value;
  out << YAML::EndSeq;
}

// JSON is YAML: the provenance objects are shared with run.json.
void emit(YAML::Emitter& out, const Json& json) {
  if (json.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, value] : json.items()) {
      out << YAML::Key << key << YAML::Value;
      emit(out, value);
    }
    out << YAML::EndMap;
  } else if (json.is_array()) {
    out << YAML::Flow << YAML::BeginSeq;
    for (const Json& value : json) emit(out, value);
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

void emit_layers(YAML::Emitter& out, const Pattern& pattern, const Overlap& overlap) {
  out << YAML::Key << "layers" << YAML::Value << YAML::BeginMap;
  out << YAML::Key << "full" << YAML::Value;
  emit_list(out, pattern.full_layers());
  out << YAML::Key << "shared" << YAML::Value;
  emit_list(out, pattern.shared_layers());
  out << YAML::Key << "donor" << YAML::Value << YAML::Flow << YAML::BeginMap;
  for (std::size_t layer : pattern.shared_layers()) {
    out << YAML::Key << layer << YAML::Value << pattern.donor(layer);
  }
  out << YAML::EndMap;
  out << YAML::Key << "donor_overlap" << YAML::Value << YAML::Flow << YAML::BeginMap;
  for (const Json& entry : donor_overlap_json(pattern, overlap)) {
    out << YAML::Key << entry["layer"].get<std::size_t>() << YAML::Value
        << number(entry["overlap"].get<double>());
  }
  out << YAML::EndMap;
  out << YAML::Key << "kept" << YAML::Value << pattern.full_count();
  out << YAML::Key << "kept_ratio" << YAML::Value
      << number(static_cast<double>(pattern.full_count()) / static_cast<double>(pattern.layers()));
  out << YAML::EndMap;
}

ServedModel served_model(const ModelSummary& model) {
  return {.architecture = model.architecture, .has_indexer = model.has_indexer, .config = {}};
}

void emit_search(YAML::Emitter& out, const RunRecord& record, const Target& target) {
  out << YAML::Key << "search" << YAML::Value << YAML::BeginMap;
  out << YAML::Key << "method" << YAML::Value << "greedy";
  out << YAML::Key << "objective" << YAML::Value << "mean next-token loss (nats)";
  out << YAML::Key << "target" << YAML::Value << YAML::DoubleQuoted << target.request;
  out << YAML::Key << "constraints" << YAML::Value;
  emit(out, constraints_json(record));
  out << YAML::Key << "tie_break" << YAML::Value << "lowest layer";
  std::size_t evaluations = 0;
  const std::size_t steps = record.baseline.full_count() - target.calibration.pattern.full_count();
  for (std::size_t i = 0; i < steps; ++i) evaluations += record.steps[i].candidates.size();
  out << YAML::Key << "evaluations" << YAML::Value << evaluations;
  out << YAML::Key << "steps" << YAML::Value << YAML::BeginSeq;
  for (std::size_t i = 0; i < steps; ++i) {
    const Step& step = record.steps[i];
    out << YAML::Flow << YAML::BeginMap;
    out << YAML::Key << "removed" << YAML::Value << step.removed;
    out << YAML::Key << "loss" << YAML::Value << number(step.loss);
    out << YAML::Key << "delta" << YAML::Value << number(step.loss - record.baseline_loss);
    out << YAML::Key << "runner_up" << YAML::Value
        << (step.runner_up ? fmt::format("{}", *step.runner_up) : "null");
    out << YAML::Key << "margin" << YAML::Value << (step.runner_up ? number(step.margin) : "null");
    out << YAML::EndMap;
  }
  out << YAML::EndSeq << YAML::EndMap;
}

void emit_measured(YAML::Emitter& out, double baseline, const Measured& measured) {
  out << YAML::Key << "baseline_loss" << YAML::Value << number(baseline);
  out << YAML::Key << "loss" << YAML::Value << number(measured.loss);
  out << YAML::Key << "delta" << YAML::Value << number(measured.delta.mean);
  out << YAML::Key << "delta_ci95" << YAML::Value << interval(measured.delta);
  out << YAML::Key << "ppl_ratio" << YAML::Value << number(std::exp(measured.delta.mean));
  out << YAML::Key << "worst_sequence" << YAML::Value;
  emit(out, worst_sequence_json(measured.delta));
}

void emit_result(YAML::Emitter& out, const RunRecord& record, const Target& target) {
  out << YAML::Key << "result" << YAML::Value << YAML::BeginMap;
  emit_measured(out, record.baseline_loss, target.calibration);
  out << YAML::Key << "verified_from_scratch" << YAML::Value << true;
  if (target.holdout) {
    out << YAML::Key << "holdout" << YAML::Value << YAML::BeginMap;
    out << YAML::Key << "tokens" << YAML::Value;
    emit(out, token_json(record.holdout->tokens));
    emit_measured(out, record.holdout->baseline_loss, *target.holdout);
    out << YAML::Key << "uniform" << YAML::Value << YAML::BeginMap;
    out << YAML::Key << "pattern" << YAML::Value << YAML::DoubleQuoted
        << target.uniform_holdout->pattern.text();
    emit_measured(out, record.holdout->baseline_loss, *target.uniform_holdout);
    out << YAML::EndMap << YAML::EndMap;
  }
  out << YAML::EndMap;
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
  YAML::Emitter out;
  out << YAML::BeginMap;
  out << YAML::Key << "schema" << YAML::Value << kSchema;
  Json tool = tool_json();
  tool["device"] = record.device;
  out << YAML::Key << "tool" << YAML::Value;
  emit(out, tool);
  out << YAML::Key << "model" << YAML::Value;
  emit(out, model_json(record.model));
  out << YAML::Key << "pattern" << YAML::Value << YAML::DoubleQuoted
      << target.calibration.pattern.text();
  emit_layers(out, target.calibration.pattern, overlap);
  emit_search(out, record, target);
  out << YAML::Key << "calibration" << YAML::Value;
  emit(out, calibration_json(record.calibration));
  emit_result(out, record, target);
  out << YAML::Key << "engines" << YAML::Value;
  emit(out, engines_json(target.calibration.pattern, served_model(record.model)));
  out << YAML::Key << "fingerprint" << YAML::Value;
  emit(out, fingerprint_json(record.fingerprint));
  out << YAML::Key << "created" << YAML::Value << YAML::DoubleQuoted << created_time();
  out << YAML::EndMap;
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
