// SPDX-License-Identifier: Apache-2.0
#include "along_queries.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <vector>

namespace indexcache {
namespace {

using Column = std::function<std::optional<double>(std::size_t)>;

// {"shared": one number per distance, "union": one per group}; null without a pair or group.
Json shares(const QueryOverlap& overlap, const Column& column) {
  Json shares{{"shared", Json::array()}, {"union", Json::array()}};
  for (std::size_t c = 0; c < overlap.columns(); ++c) {
    const auto value = column(c);
    shares[c < overlap.distances.size() ? "shared" : "union"].push_back(value ? Json(*value)
                                                                              : Json());
  }
  return shares;
}

std::string line(const QueryOverlap& overlap, const std::string& name, const Column& column) {
  std::string text = fmt::format("{:<12}", name);
  for (std::size_t c = 0; c < overlap.columns(); ++c) {
    const auto value = column(c);
    text += fmt::format("  {:>7}", value ? fmt::format("{:.3f}", *value) : "-");
  }
  return text;
}

}  // namespace

Json along_queries_document(const QueryOverlap& overlap) {
  Json document = shares(overlap, [&](std::size_t c) { return overlap.mean(c); });
  document["distances"] = overlap.distances;
  document["groups"] = overlap.groups;
  document["layers"] = Json::array();
  for (std::size_t n = 0; n < overlap.layers.size(); ++n) {
    Json layer = shares(overlap, [&](std::size_t c) { return overlap.of_layer(n, c); });
    layer["layer"] = overlap.layers[n];
    document["layers"].push_back(std::move(layer));
  }
  document["by_position"] = Json::array();
  for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
    Json bucket = shares(overlap, [&](std::size_t c) { return overlap.of_bucket(b, c); });
    bucket["end"] = overlap.bucket_ends[b];
    document["by_position"].push_back(std::move(bucket));
  }
  return document;
}

std::string along_queries_table(const QueryOverlap& overlap, const LayerNumbers& numbers) {
  std::vector<std::string> lines = {
      fmt::format(
          "sets of queries near each other, in units of {}: what query t has in common with",
          overlap.index_topk),
      fmt::format("earlier ones, and the union of {} consecutive ones",
                  fmt::join(overlap.groups, ", ")),
      fmt::format("{:<12}", "layer")};
  for (const std::int64_t distance : overlap.distances) {
    lines.back() += fmt::format("  {:>7}", fmt::format("t-{}", distance));
  }
  for (const std::int64_t size : overlap.groups) {
    lines.back() += fmt::format("  {:>7}", fmt::format("union {}", size));
  }
  for (std::size_t n = 0; n < overlap.layers.size(); ++n) {
    lines.push_back(line(overlap, fmt::format("{:>3}", numbers.of(overlap.layers[n])),
                         [&](std::size_t c) { return overlap.of_layer(n, c); }));
  }
  lines.push_back(line(overlap, "mean", [&](std::size_t c) { return overlap.mean(c); }));
  for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
    lines.push_back(line(overlap, fmt::format("below {:>6}", overlap.bucket_ends[b]),
                         [&](std::size_t c) { return overlap.of_bucket(b, c); }));
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

}  // namespace indexcache
