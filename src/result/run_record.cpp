// SPDX-License-Identifier: Apache-2.0
#include "result/run_record.h"

#include "core/created.h"
#include "version.h"

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

Json measured_json(const Measured& measured) {
  Json json = interval_json(measured.delta);
  json["pattern"] = measured.pattern.text();
  json["loss"] = measured.loss;
  json["ppl_ratio"] = std::exp(measured.delta.mean);
  json["worst_sequence"] = worst_sequence_json(measured.delta);
  json["sequence_losses"] = measured.losses;
  json["sequence_deltas"] = measured.delta.per_sequence;
  return json;
}

Json target_json(const Target& target, const Overlap& overlap) {
  const Pattern& pattern = target.calibration.pattern;
  Json json{{"request", target.request},
            {"pattern", pattern.text()},
            {"full_layers", pattern.full_layers()},
            {"kept", pattern.full_count()},
            {"kept_ratio",
             static_cast<double>(pattern.full_count()) / static_cast<double>(pattern.layers())},
            {"donor_overlap", donor_overlap_json(pattern, overlap)},
            {"verified_from_scratch", true},
            {"calibration", measured_json(target.calibration)}};
  if (target.holdout) json["holdout"] = measured_json(*target.holdout);
  if (target.uniform_holdout) json["uniform_holdout"] = measured_json(*target.uniform_holdout);
  return json;
}

Json step_json(const Step& step, double baseline_loss) {
  Json candidates = Json::array();
  for (const Candidate& candidate : step.candidates) {
    candidates.push_back(Json{{"layer", candidate.layer},
                              {"loss", candidate.loss},
                              {"sequence_losses", candidate.losses}});
  }
  Json json{{"pattern", step.pattern.text()},
            {"removed", step.removed},
            {"loss", step.loss},
            {"delta", step.loss - baseline_loss},
            {"runner_up", nullptr},
            {"margin", nullptr},
            {"candidates", candidates}};
  if (step.runner_up) {
    json["runner_up"] = *step.runner_up;
    json["margin"] = step.margin;
  }
  return json;
}

Json overlap_json(const Overlap& overlap) {
  Json blocks = Json::array();
  for (const OverlapBlock& block : find_blocks(overlap)) {
    blocks.push_back(Json::array({block.first, block.last}));
  }
  return Json{
      {"adjacent", overlap.adjacent()}, {"blocks", blocks}, {"query_step", overlap.query_step}};
}

// The one key whose value no two runs share.
Json created_json(const RunRecord& record) {
  Json created{{"at", created_time()}};
  Json seconds = Json::array();
  for (const Step& step : record.steps) {
    if (const auto value = recorded_seconds(step.seconds)) seconds.push_back(*value);
  }
  if (!seconds.empty()) created["step_seconds"] = seconds;
  // A continued run holds less at once than an uninterrupted one.
  if (record.planned_bytes > 0 && recorded_seconds(0)) {
    created["memory"] =
        Json{{"planned_bytes", record.planned_bytes}, {"peak_bytes", record.peak_bytes}};
  }
  return created;
}

}  // namespace

Json tool_json() {
  return Json{
      {"name", kToolName}, {"version", kToolVersion}, {"numerics_version", kNumericsVersion}};
}

Json token_json(const TokenSummary& tokens) {
  Json json{{"source", tokens.source},
            {"sha256", tokens.sha256},
            {"sequences", tokens.sequences},
            {"tokens", tokens.tokens},
            {"longest", tokens.longest}};
  if (!tokens.prepared.is_null()) json["prepared"] = tokens.prepared;
  return json;
}

Json model_json(const ModelSummary& model) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  return Json{{"name", model.name},
              {"architecture", model.architecture},
              {"layers", model.layers},
              {"nextn_layers_excluded", model.mtp_layers},
              {"index_topk", model.index_topk},
              {"index_heads", model.index_heads},
              {"index_head_dim", model.index_head_dim},
              {"indexer_layers", true_positions(model.has_indexer)},
              {"existing_indexer_types", model.native_schedule},
              {"quantization", model.quantization},
              {"mla_norm_eps", model.mla_norm_eps},
              {"config_sha256", model.config_sha256},
              {"weights_layout_sha256", model.weights_layout_sha256},
              {"tokenizer_sha256", or_null(model.tokenizer_sha256)}};
}

Json interval_json(const PairedDifference& difference) {
  Json json{{"delta", difference.mean}, {"delta_ci95", nullptr}};
  if (difference.ci95) {
    json["delta_ci95"] = Json::array({difference.ci95->first, difference.ci95->second});
  }
  return json;
}

Json fingerprint_json(const Fingerprint& fingerprint) {
  Json json = Json::object();
  for (const auto& [field, value] : fingerprint) json[field] = value;
  return json;
}

Json constraints_json(const RunRecord& record) {
  const Constraints& constraints = record.constraints;
  Json json{{"first_full", true},
            {"pinned_full", true_positions(constraints.pinned_full)},
            {"pinned_shared", true_positions(constraints.pinned_shared)},
            {"max_run", nullptr},
            {"natively_shared", record.baseline.shared_layers()}};
  if (constraints.max_run > 0) json["max_run"] = constraints.max_run;
  return json;
}

Json worst_sequence_json(const PairedDifference& difference) {
  const auto worst = std::ranges::max_element(difference.per_sequence);
  if (worst == difference.per_sequence.end()) return nullptr;
  return Json{{"sequence", worst - difference.per_sequence.begin()}, {"delta", *worst}};
}

Json donor_overlap_json(const Pattern& pattern, const Overlap& overlap) {
  Json list = Json::array();
  for (const std::size_t layer : pattern.shared_layers()) {
    const std::size_t donor = pattern.donor(layer);
    list.push_back(
        Json{{"layer", layer}, {"donor", donor}, {"overlap", overlap.mean(layer, donor)}});
  }
  return list;
}

Json to_json(const RunRecord& record, const Overlap& overlap) {
  Json json{{"schema", "indexcache-run/1"},
            {"tool", tool_json()},
            {"device", record.device},
            {"model", model_json(record.model)},
            {"calibration", token_json(record.calibration)},
            {"holdout", nullptr},
            {"settings", Json{{"method", "greedy"},
                              {"objective", "mean next-token loss, nats"},
                              {"tie_break", "lowest layer"},
                              {"constraints", constraints_json(record)}}},
            {"fingerprint", fingerprint_json(record.fingerprint)},
            {"baseline", Json{{"pattern", record.baseline.text()},
                              {"loss", record.baseline_loss},
                              {"sequence_losses", record.baseline_losses}}},
            {"targets", Json::array()},
            {"steps", Json::array()},
            {"overlap", overlap_json(overlap)},
            {"warnings", record.warnings}};
  if (record.holdout) {
    json["holdout"] = token_json(record.holdout->tokens);
    json["holdout"]["baseline_loss"] = record.holdout->baseline_loss;
    json["holdout"]["baseline_sequence_losses"] = record.holdout->baseline_losses;
  }
  for (const Target& target : record.targets)
    json["targets"].push_back(target_json(target, overlap));
  for (const Step& step : record.steps) {
    json["steps"].push_back(step_json(step, record.baseline_loss));
  }
  json["created"] = created_json(record);
  return json;
}

}  // namespace indexcache
