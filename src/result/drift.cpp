// SPDX-License-Identifier: Apache-2.0
#include "result/drift.h"

#include "core/utf8.h"
#include "io/files.h"
#include "io/json_field.h"
#include "result/convert_v1.h"
#include "result/parts_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

std::int64_t queries_in(const Overlap& overlap, std::size_t bucket) {
  return bucket < overlap.queries.size() ? overlap.queries[bucket] : 0;
}

std::optional<double> in_bucket(const Overlap& overlap, const LayerDrift& layer,
                                std::size_t bucket) {
  if (queries_in(overlap, bucket) == 0) return std::nullopt;
  return overlap.mean(layer.layer, layer.donor, bucket);
}

LayerDrift layer_drift(std::size_t layer, std::size_t donor, const Overlap& stored,
                       const Overlap& now) {
  LayerDrift drift{layer, donor, {stored.mean(layer, donor), now.mean(layer, donor)}, {}};
  const std::size_t buckets = std::max(stored.queries.size(), now.queries.size());
  for (std::size_t b = 0; b < buckets; ++b) {
    drift.by_position.push_back({in_bucket(stored, drift, b), in_bucket(now, drift, b)});
  }
  return drift;
}

// The mean of one side over the layers; absent if a layer has no value or there is no layer.
std::optional<double> mean(const std::vector<LayerDrift>& layers, std::size_t bucket,
                           std::optional<double> OverlapChange::*side) {
  double sum = 0;
  for (const LayerDrift& layer : layers) {
    const auto value = layer.by_position[bucket].*side;
    if (!value) return std::nullopt;
    sum += *value;
  }
  if (layers.empty()) return std::nullopt;
  return sum / static_cast<double>(layers.size());
}

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

void add_change(Json& json, const OverlapChange& change) {
  json["stored"] = or_null(change.stored);
  json["now"] = or_null(change.now);
  json["drop"] = or_null(change.drop());
}

OverlapChange change_from_json(const JsonField& field) {
  const auto overlap = [&](const char* key) -> std::optional<double> {
    const auto value = field.nullable(key);
    return value ? std::optional(value->number(0, 1)) : std::nullopt;
  };
  const OverlapChange change{overlap("stored"), overlap("now")};
  field.at("drop").require(or_null(change.drop()));
  return change;
}

Json drop_json(const Drift& drift) {
  const LayerDrift* largest = drift.largest();
  if (largest == nullptr) return nullptr;
  return Json{
      {"mean", drift.mean_drop()}, {"largest", *largest->change.drop()}, {"layer", largest->layer}};
}

LayerDrift layer_from_json(const JsonField& field, const Pattern& pattern, std::size_t layer) {
  field.at("layer").require(layer);
  field.at("donor").require(pattern.donor(layer));
  LayerDrift drift{layer, pattern.donor(layer), change_from_json(field), {}};
  if (!drift.change.stored) field.at("stored").fail("expected a number");
  if (!drift.change.now) field.at("now").fail("expected a number");
  for (const JsonField& bucket : field.at("by_position").elements()) {
    drift.by_position.push_back(change_from_json(bucket));
  }
  return drift;
}

PositionDrift position_from_json(const JsonField& field) {
  return {field.at("end").integer(1), field.at("stored_queries").integer(0),
          field.at("now_queries").integer(0), change_from_json(field)};
}

Drift read(const JsonField& document, const std::string& where) {
  const JsonField tool = document.at("tool");
  const JsonField text = document.at("pattern");
  const Pattern pattern = pattern_from_json(text, ResultShape{text.text().size(), {}, 0, 0, false});
  Drift drift{.file = where,
              .tool_version = tool.at("version").text(),
              .numerics_version = tool.at("numerics_version").integer(0),
              .run = document.at("run").text(),
              .stored_tokens_sha256 = document.at("stored_tokens_sha256").sha256(),
              .tokens = tokens_from_json(document.at("tokens")),
              .pattern = pattern,
              .layers = {},
              .by_position = {}};
  const std::vector<std::size_t> shared = pattern.shared_layers();
  const std::vector<JsonField> layers = document.at("layers").elements();
  if (layers.size() != shared.size()) {
    document.at("layers").fail(fmt::format("it has {} entries, the pattern has {} shared layers",
                                           layers.size(), shared.size()));
  }
  for (std::size_t i = 0; i < shared.size(); ++i) {
    drift.layers.push_back(layer_from_json(layers[i], pattern, shared[i]));
  }
  for (const JsonField& bucket : document.at("by_position").elements()) {
    drift.by_position.push_back(position_from_json(bucket));
  }
  document.at("drop").require(drop_json(drift));
  return drift;
}

std::string fixed(const std::optional<double>& value) {
  return value ? fmt::format("{:.3f}", *value) : "    -";
}

std::string signed_change(const OverlapChange& change) {
  const auto drop = change.drop();
  return drop ? fmt::format("{:+.3f}", -*drop) : "     -";
}

}  // namespace

std::optional<double> OverlapChange::drop() const {
  if (!stored || !now) return std::nullopt;
  return *stored - *now;
}

double Drift::mean_drop() const {
  double sum = 0;
  for (const LayerDrift& layer : layers) sum += *layer.change.drop();
  return layers.empty() ? 0 : sum / static_cast<double>(layers.size());
}

const LayerDrift* Drift::largest() const {
  const auto largest = std::ranges::max_element(
      layers, {}, [](const LayerDrift& layer) { return *layer.change.drop(); });
  return largest == layers.end() ? nullptr : &*largest;
}

Drift compare_overlap(const Pattern& pattern, const Overlap& stored, const Overlap& now) {
  Drift drift{.file = {},
              .tool_version = "",
              .run = "",
              .stored_tokens_sha256 = "",
              .tokens = {},
              .pattern = pattern,
              .layers = {},
              .by_position = {}};
  for (const std::size_t layer : pattern.shared_layers()) {
    drift.layers.push_back(layer_drift(layer, pattern.donor(layer), stored, now));
  }
  const Overlap& longer = stored.queries.size() > now.queries.size() ? stored : now;
  for (std::size_t b = 0; b < longer.bucket_ends.size(); ++b) {
    drift.by_position.push_back({longer.bucket_ends[b],
                                 queries_in(stored, b),
                                 queries_in(now, b),
                                 {mean(drift.layers, b, &OverlapChange::stored),
                                  mean(drift.layers, b, &OverlapChange::now)}});
  }
  return drift;
}

Json to_json(const Drift& drift) {
  Json json{{"schema", kDriftSchema},
            {"tool", tool_json({.tool_version = drift.tool_version,
                                .numerics_version = drift.numerics_version,
                                .device = "",
                                .created_at = "",
                                .search_seconds = {},
                                .planned_bytes = {},
                                .peak_bytes = {}})},
            {"run", printable_utf8(drift.run)},
            {"stored_tokens_sha256", drift.stored_tokens_sha256},
            {"tokens", to_json(drift.tokens)},
            {"pattern", drift.pattern.text()},
            {"layers", Json::array()},
            {"by_position", Json::array()}};
  for (const LayerDrift& layer : drift.layers) {
    Json entry{{"layer", layer.layer}, {"donor", layer.donor}};
    add_change(entry, layer.change);
    entry["by_position"] = Json::array();
    for (const OverlapChange& change : layer.by_position) {
      add_change(entry["by_position"].emplace_back(Json::object()), change);
    }
    json["layers"].push_back(entry);
  }
  for (const PositionDrift& bucket : drift.by_position) {
    Json entry{{"end", bucket.end},
               {"stored_queries", bucket.stored_queries},
               {"now_queries", bucket.now_queries}};
    add_change(entry, bucket.change);
    json["by_position"].push_back(entry);
  }
  json["drop"] = drop_json(drift);
  return json;
}

Drift drift_from_json(const Json& document, const std::string& where) {
  const JsonSource source{"not a drift file that can be used", where,
                          "the drift.json that `overlap --against RUN` writes"};
  const JsonField root(document, source);
  const std::string schema = root.at("schema").text();
  if (schema == kDriftSchemaV1) {
    const Json converted = drift_from_v1(root);
    return read(JsonField(converted, source), where);
  }
  if (schema != kDriftSchema) {
    root.at("schema").fail(fmt::format("it is \"{}\"; this program reads {} and {}", schema,
                                       kDriftSchema, kDriftSchemaV1));
  }
  return read(root, where);
}

Drift read_drift(const std::filesystem::path& path) {
  return drift_from_json(parse_json(read_file(path), path.string()), path.string());
}

std::string drift_table(const Drift& drift, const LayerNumbers& numbers) {
  std::string text = "shared layers and their donors: stored, now, change\n";
  for (const LayerDrift& layer : drift.layers) {
    text += fmt::format("layer {:>3} <- {:>3}    {}  {}  {}\n", numbers.of(layer.layer),
                        numbers.of(layer.donor), fixed(layer.change.stored),
                        fixed(layer.change.now), signed_change(layer.change));
  }
  for (const PositionDrift& bucket : drift.by_position) {
    text += fmt::format("below {:>9}     {}  {}  {}\n", bucket.end, fixed(bucket.change.stored),
                        fixed(bucket.change.now), signed_change(bucket.change));
  }
  const LayerDrift* largest = drift.largest();
  if (largest == nullptr) return text + "no layer is shared\n";
  return text + fmt::format("change {:+.4f} on average; layer {} falls most, {:+.4f}\n",
                            -drift.mean_drop(), numbers.of(largest->layer),
                            -*largest->change.drop());
}

}  // namespace indexcache
