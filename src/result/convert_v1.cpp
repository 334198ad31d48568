// SPDX-License-Identifier: Apache-2.0
#include "result/convert_v1.h"

#include <fmt/format.h>

#include <algorithm>

namespace indexcache {
namespace {

// Members that keep their place, null if they are absent: the reader of /2 will say so.
void copy(const JsonField& from, std::initializer_list<const char*> keys, Json& to) {
  for (const char* key : keys) {
    const auto field = from.find(key);
    if (field) to[key] = field->json();
  }
}

Json search_from_v1(const JsonField& run) {
  const std::string start = run.at("baseline").at("pattern").text();
  std::string before = start;
  Json path = Json::array();
  for (const JsonField& step : run.at("steps").elements()) {
    Json considered = Json::array();
    for (const JsonField& candidate : step.at("candidates").elements()) {
      std::string pattern = before;
      if (pattern.empty()) run.at("baseline").at("pattern").fail("it is empty");
      pattern[candidate.at("layer").count(0, pattern.size() - 1)] = 'S';
      considered.push_back(Json{{"pattern", pattern},
                                {"loss", candidate.at("loss").json()},
                                {"sequence_losses", candidate.at("sequence_losses").json()}});
    }
    before = step.at("pattern").text();
    if (before.size() != start.size()) step.at("pattern").fail("it has another length");
    path.push_back(
        Json{{"pattern", before}, {"loss", step.at("loss").json()}, {"considered", considered}});
  }
  return Json{{"method", run.at("settings").at("method").json()}, {"start", start}, {"path", path}};
}

Json created_from_v1(const JsonField& created) {
  Json json{{"at", created.at("at").json()}};
  if (const auto seconds = created.find("step_seconds")) {
    double sum = 0;
    for (const double value : seconds->numbers()) sum += value;
    json["search_seconds"] = sum;
  }
  copy(created, {"memory"}, json);
  return json;
}

// "result" and what is in it: a measured block without its pattern.
Json measured_from_v1(const JsonField& result, const std::string& pattern) {
  Json json{{"pattern", pattern}};
  for (const char* key : {"loss", "delta", "delta_ci95", "ppl_ratio", "worst_sequence"}) {
    json[key] = result.at(key).json();
  }
  return json;
}

Json donors_from_v1(const JsonField& layers) {
  Json donors = Json::array();
  const JsonField overlaps = layers.at("donor_overlap");
  for (const auto& [layer, donor] : layers.at("donor").members()) {
    const bool number =
        !layer.empty() && layer.size() < 6 && layer.find_first_not_of("0123456789") == layer.npos;
    if (!number) donor.fail("its key is not the number of a layer");
    donors.push_back(Json{{"layer", std::stoul(layer)},
                          {"donor", donor.json()},
                          {"overlap", overlaps.at(layer).json()}});
  }
  return donors;
}

Json target_from_v1(const JsonField& document, const std::string& pattern) {
  const JsonField layers = document.at("layers");
  const JsonField search = document.at("search");
  const JsonField result = document.at("result");
  Json target{{"request", search.at("target").json()},
              {"method", search.at("method").json()},
              {"pattern", pattern},
              {"full_layers", layers.at("full").json()},
              {"kept", layers.at("kept").json()},
              {"kept_ratio", layers.at("kept_ratio").json()},
              {"donor_overlap", donors_from_v1(layers)},
              {"verified_from_scratch", result.at("verified_from_scratch").json()},
              {"calibration", measured_from_v1(result, pattern)}};
  if (const auto holdout = result.find("holdout")) {
    target["holdout"] = measured_from_v1(*holdout, pattern);
    const JsonField uniform = holdout->at("uniform");
    target["uniform_holdout"] = measured_from_v1(uniform, uniform.at("pattern").text());
  }
  return target;
}

// The members of a complete file; a pattern written by hand has none of them.
void add_result_from_v1(const JsonField& document, const std::string& pattern, Json& json) {
  const JsonField result = document.at("result");
  json["target"] = target_from_v1(document, pattern);
  const JsonField constraints = document.at("search").at("constraints");
  json["constraints"] = constraints.json();
  std::string baseline(pattern.size(), 'F');
  for (const std::size_t layer : constraints.at("natively_shared").layers(pattern.size())) {
    baseline[layer] = 'S';
  }
  json["baseline"] = Json{{"pattern", baseline}, {"loss", result.at("baseline_loss").json()}};
  Json calibration = document.at("calibration").json();
  if (calibration.is_object()) calibration.erase("documents");
  json["calibration"] = calibration;
  json["holdout"] = nullptr;
  if (const auto holdout = result.find("holdout")) {
    json["holdout"] = holdout->at("tokens").json();
    if (json["holdout"].is_object()) {
      json["holdout"]["baseline_loss"] = holdout->at("baseline_loss").json();
    }
  }
}

}  // namespace

Json run_from_v1(const JsonField& run) {
  Json json = Json::object();
  copy(run, {"tool", "device", "model", "calibration"}, json);
  json["holdout"] = run.at("holdout").json();
  json["constraints"] = run.at("settings").at("constraints").json();
  copy(run, {"fingerprint", "baseline"}, json);
  json["targets"] = Json::array();
  for (const JsonField& target : run.at("targets").elements()) {
    target.at("pattern");  // an object
    json["targets"].push_back(target.json());
    json["targets"].back()["method"] = run.at("settings").at("method").json();
  }
  json["searches"] = Json::array({search_from_v1(run)});
  copy(run, {"overlap", "warnings"}, json);
  json["complete"] = true;
  json["created"] = created_from_v1(run.at("created"));
  return json;
}

Json pattern_from_v1(const JsonField& document) {
  const std::string pattern = document.at("pattern").text();
  Json json{{"pattern", pattern}};
  copy(document, {"model", "fingerprint"}, json);
  if (const auto layers = document.find("layers")) check_donors_v1(*layers, pattern);
  if (const auto created = document.find("created")) {
    json["tool"] = document.at("tool").json();
    json["device"] = document.at("tool").at("device").json();
    json["created"] = Json{{"at", created->json()}};
  }
  if (document.find("result")) add_result_from_v1(document, pattern, json);
  return json;
}

Json drift_from_v1(const JsonField& drift) {
  Json json = drift.json();
  if (drift.at("layers").elements().empty()) json["drop"] = nullptr;
  for (Json& bucket : json["by_position"]) {
    if (!bucket.is_object() || !bucket.contains("queries")) continue;
    bucket["now_queries"] = bucket["queries"];
    bucket.erase("queries");
  }
  return json;
}

void check_donors_v1(const JsonField& layers, const std::string& pattern) {
  const auto donors = layers.find("donor");
  if (!donors) return;
  for (const auto& [text, donor] : donors->members()) {
    const bool number =
        !text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == text.npos;
    const std::size_t layer = number ? std::stoul(text) : pattern.size();
    const bool shared = layer < pattern.size() && pattern[layer] == 'S';
    if (shared && donor.json() == pattern.rfind('F', layer)) continue;
    layers.fail(fmt::format("donor says that layer {} uses layer {}, the pattern {} does not", text,
                            donor.json().dump(), pattern));
  }
}

}  // namespace indexcache
