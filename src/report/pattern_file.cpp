// SPDX-License-Identifier: Apache-2.0
#include "report/pattern_file.h"

#include "core/created.h"
#include "core/error.h"
#include "io/files.h"
#include "report/run_record.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <cmath>

namespace indexcache {
namespace {

constexpr const char* kSchema = "indexcache-pattern/1";

std::string number(double value) {
  return fmt::format("{}", value);
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

void emit_layers(YAML::Emitter& out, const Pattern& pattern) {
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
  out << YAML::Key << "kept" << YAML::Value << pattern.full_count();
  out << YAML::Key << "kept_ratio" << YAML::Value
      << number(static_cast<double>(pattern.full_count()) / static_cast<double>(pattern.layers()));
  out << YAML::EndMap;
}

void emit_search(YAML::Emitter& out, const RunRecord& record, const Target& target) {
  out << YAML::Key << "search" << YAML::Value << YAML::BeginMap;
  out << YAML::Key << "method" << YAML::Value << "greedy";
  out << YAML::Key << "objective" << YAML::Value << "mean next-token loss (nats)";
  out << YAML::Key << "target" << YAML::Value << YAML::DoubleQuoted << target.request;
  out << YAML::Key << "constraints" << YAML::Value << YAML::BeginMap;
  out << YAML::Key << "first_full" << YAML::Value << true;
  out << YAML::Key << "pinned_full" << YAML::Value;
  emit_list(out, record.pinned);
  out << YAML::Key << "no_indexer_weights" << YAML::Value;
  emit_list(out, record.baseline.shared_layers());
  out << YAML::EndMap;
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
}

void emit_result(YAML::Emitter& out, const RunRecord& record, const Target& target) {
  out << YAML::Key << "result" << YAML::Value << YAML::BeginMap;
  emit_measured(out, record.baseline_loss, target.calibration);
  out << YAML::Key << "verified_from_scratch" << YAML::Value << true;
  if (target.holdout) {
    out << YAML::Key << "holdout" << YAML::Value << YAML::BeginMap;
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
                    "a pattern.yaml written by this tool, or one line of F and S"});
}

void check_donors(const YAML::Node& donors, const Pattern& pattern, const std::string& where) {
  if (!donors.IsMap()) fail(where, "layers.donor is not a map");
  for (const auto& entry : donors) {
    const auto layer = entry.first.as<std::size_t>();
    const auto donor = entry.second.as<std::size_t>();
    if (layer < pattern.layers() && !pattern.is_full(layer) && pattern.donor(layer) == donor) {
      continue;
    }
    fail(where,
         fmt::format("layers.donor says that layer {} uses layer {}, the pattern {} does not",
                     layer, donor, pattern.text()));
  }
}

Pattern parse_document(const YAML::Node& document, const std::string& where) {
  if (document.IsScalar()) return Pattern::parse(document.as<std::string>(), where);
  if (!document.IsMap() || !document["pattern"] || !document["pattern"].IsScalar()) {
    fail(where, "it has no key \"pattern\"");
  }
  if (const auto schema = document["schema"]; schema && schema.as<std::string>() != kSchema) {
    fail(where,
         fmt::format("its schema is {}, this program reads {}", schema.as<std::string>(), kSchema));
  }
  Pattern pattern = Pattern::parse(document["pattern"].as<std::string>(), where);
  const YAML::Node layers = document["layers"];
  if (layers && layers.IsMap() && layers["donor"]) check_donors(layers["donor"], pattern, where);
  return pattern;
}

}  // namespace

std::string to_pattern_yaml(const RunRecord& record, std::size_t index) {
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
  emit_layers(out, target.calibration.pattern);
  emit_search(out, record, target);
  out << YAML::Key << "calibration" << YAML::Value;
  emit(out, calibration_json(record.calibration));
  emit_result(out, record, target);
  out << YAML::Key << "created" << YAML::Value << YAML::DoubleQuoted << created_time();
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

Pattern read_pattern_file(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  try {
    return parse_document(YAML::Load(text), path.string());
  } catch (const YAML::Exception& error) {
    fail(fmt::format("{}:{}", path.string(), error.mark.line + 1), error.msg);
  }
}

}  // namespace indexcache
