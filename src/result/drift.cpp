// SPDX-License-Identifier: Apache-2.0
#include "result/drift.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace indexcache {
namespace {

// Overlap of a layer with its donor below position `end`'s bucket, null where nothing was measured.
Json in_bucket(const Overlap& overlap, std::size_t layer, std::size_t donor, std::size_t bucket) {
  if (bucket >= overlap.queries.size() || overlap.queries[bucket] == 0) return nullptr;
  return overlap.mean(layer, donor, bucket);
}

Json difference(const Json& stored, const Json& now) {
  if (stored.is_null() || now.is_null()) return nullptr;
  return stored.get<double>() - now.get<double>();
}

std::int64_t queries_in(const Overlap& overlap, std::size_t bucket) {
  return bucket < overlap.queries.size() ? overlap.queries[bucket] : 0;
}

Json layer_json(std::size_t layer, std::size_t donor, const Overlap& stored, const Overlap& now) {
  const std::size_t buckets = std::max(stored.queries.size(), now.queries.size());
  Json by_position = Json::array();
  for (std::size_t b = 0; b < buckets; ++b) {
    const Json before = in_bucket(stored, layer, donor, b);
    const Json after = in_bucket(now, layer, donor, b);
    by_position.push_back(
        Json{{"stored", before}, {"now", after}, {"drop", difference(before, after)}});
  }
  const double before = stored.mean(layer, donor);
  const double after = now.mean(layer, donor);
  return Json{{"layer", layer}, {"donor", donor},         {"stored", before},
              {"now", after},   {"drop", before - after}, {"by_position", by_position}};
}

// Mean over the shared layers, a bucket at a time.
Json positions_json(const Json& layers, const Overlap& stored, const Overlap& now) {
  const Overlap& longer = stored.queries.size() > now.queries.size() ? stored : now;
  Json positions = Json::array();
  for (std::size_t b = 0; b < longer.bucket_ends.size(); ++b) {
    const auto mean = [&](const char* side) -> Json {
      double sum = 0;
      for (const Json& layer : layers) {
        const Json& value = layer["by_position"][b][side];
        if (value.is_null()) return nullptr;
        sum += value.get<double>();
      }
      if (layers.empty()) return nullptr;
      return sum / static_cast<double>(layers.size());
    };
    const Json before = mean("stored");
    const Json after = mean("now");
    positions.push_back(Json{{"end", longer.bucket_ends[b]},
                             {"stored_queries", queries_in(stored, b)},
                             {"queries", queries_in(now, b)},
                             {"stored", before},
                             {"now", after},
                             {"drop", difference(before, after)}});
  }
  return positions;
}

Json drop_json(const Json& layers) {
  double sum = 0;
  double largest = 0;
  std::size_t at = 0;
  for (const Json& layer : layers) {
    const double drop = layer["drop"];
    sum += drop;
    if (&layer == &layers.front() || drop > largest) {
      largest = drop;
      at = layer["layer"];
    }
  }
  const double mean = layers.empty() ? 0 : sum / static_cast<double>(layers.size());
  return Json{{"mean", mean}, {"largest", largest}, {"layer", at}};
}

std::string fixed(const Json& value) {
  return value.is_null() ? "    -" : fmt::format("{:.3f}", value.get<double>());
}

std::string sign(const Json& value) {
  return value.is_null() ? "     -" : fmt::format("{:+.3f}", -value.get<double>());
}

}  // namespace

Json compare_overlap(const Pattern& pattern, const Overlap& stored, const Overlap& now) {
  Json layers = Json::array();
  for (const std::size_t layer : pattern.shared_layers()) {
    layers.push_back(layer_json(layer, pattern.donor(layer), stored, now));
  }
  const Json positions = positions_json(layers, stored, now);
  const Json drop = drop_json(layers);
  return Json{
      {"pattern", pattern.text()}, {"layers", layers}, {"by_position", positions}, {"drop", drop}};
}

std::string drift_table(const Json& drift) {
  std::string text = "shared layers and their donors: stored, now, change\n";
  for (const Json& layer : drift["layers"]) {
    text += fmt::format("layer {:>3} <- {:>3}    {}  {}  {}\n", layer["layer"].get<std::size_t>(),
                        layer["donor"].get<std::size_t>(), fixed(layer["stored"]),
                        fixed(layer["now"]), sign(layer["drop"]));
  }
  for (const Json& bucket : drift["by_position"]) {
    text += fmt::format("below {:>9}     {}  {}  {}\n", bucket["end"].get<std::int64_t>(),
                        fixed(bucket["stored"]), fixed(bucket["now"]), sign(bucket["drop"]));
  }
  const Json& drop = drift["drop"];
  if (drift["layers"].empty()) return text + "no layer is shared\n";
  return text + fmt::format("change {:+.4f} on average; layer {} falls most, {:+.4f}\n",
                            -drop["mean"].get<double>(), drop["layer"].get<std::size_t>(),
                            -drop["largest"].get<double>());
}

}  // namespace indexcache
