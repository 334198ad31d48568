// SPDX-License-Identifier: Apache-2.0
#include "result/parts_json.h"

#include "core/error.h"
#include "core/utf8.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace indexcache {
namespace {

constexpr std::size_t kMostLayers = 4096;
constexpr std::size_t kLongestName = 256;

// JSON holds only UTF-8; names of files may be anything.
Json text_json(const std::string& text) {
  return printable_utf8(text);
}

Json text_or_null(const std::string& text) {
  return text.empty() ? Json() : text_json(text);
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
  if (!provenance.devices.empty()) {
    created["devices"] = Json::array();
    for (const DeviceShare& device : provenance.devices) {
      Json share{{"name", text_json(device.name)},
                 {"tasks", device.tasks},
                 {"busy_seconds", device.busy_seconds}};
      if (device.students > 0) share["students"] = device.students;
      created["devices"].push_back(std::move(share));
    }
    created["idle_share"] = provenance.idle_share;
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
  if (const auto devices = created.find("devices")) {
    for (const JsonField& device : devices->elements()) {
      const auto students = device.find("students");
      provenance.devices.push_back({device.at("name").text(), device.at("tasks").integer(0),
                                    device.at("busy_seconds").number(0, 1e12),
                                    students ? students->integer(1) : 0});
    }
    provenance.idle_share = created.at("idle_share").number(0, 1);
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

IndexerMethod indexer_from_json(const JsonField& field, std::int64_t index_topk) {
  try {
    const IndexerMethod method = parse_indexer(field.text());
    if (method) check_fits(*method, index_topk);
    return method;
  } catch (const UsageError& error) {
    field.fail(fmt::format("it is no indexer of this model: {}", error.problem().why));
  }
}

Json to_json(const ModelSummary& model) {
  Json json{{"name", text_json(model.name)},
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
  // Absent if every decoder layer has a letter.
  if (!model.numbers.are_all()) {
    json["pattern_layers"] = model.numbers.list();
    json["decoder_layers"] = model.numbers.model_layers(model.layers);
  }
  // Absent for the exact indexer, as in results of older versions.
  if (model.indexer) json["indexer"] = indexer_text(model.indexer);
  return json;
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
                     .indexer = std::nullopt,
                     .config_sha256 = field.at("config_sha256").sha256(),
                     .weights_layout_sha256 = field.at("weights_layout_sha256").sha256(),
                     .tokenizer_sha256 = "",
                     .numbers = {}};
  for (const std::size_t layer : field.at("indexer_layers").layers(layers)) {
    model.has_indexer[layer] = true;
  }
  const ResultShape shape{layers, {}, 0, 0, false};
  model.native_schedule = pattern_from_json(field.at("existing_indexer_types"), shape).text();
  if (const auto numbers = field.find("pattern_layers")) {
    const std::size_t all = field.at("decoder_layers").count(layers, kMostLayers);
    std::vector<std::size_t> list = numbers->layers(all);
    if (list.size() != layers || !std::ranges::is_sorted(list)) {
      numbers->fail(fmt::format("it is not an ascending list of {} layers", layers));
    }
    model.numbers = LayerNumbers(std::move(list), all);
  }
  if (const auto indexer = field.find("indexer"))
    model.indexer = indexer_from_json(*indexer, model.index_topk);
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

std::string name_from_json(const JsonField& field) {
  std::string name = field.text();
  if (name.empty() || name.size() > kLongestName) {
    field.fail(fmt::format("expected a name of 1 to {} bytes", kLongestName));
  }
  return name;
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

Pattern pattern_from_json(const JsonField& field, const ResultShape& shape) {
  const std::string text = field.text();
  try {
    Pattern pattern = Pattern::parse(text);
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
