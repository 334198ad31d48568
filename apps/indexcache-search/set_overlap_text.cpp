// SPDX-License-Identifier: Apache-2.0
#include "set_overlap_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace indexcache {
namespace {

using Part = SetOverlap::Part;

Json shares(const SetOverlap& overlap, const Part& part) {
  const auto value = [](const std::optional<double>& share) {
    return share ? Json(*share) : Json();
  };
  return {{"mean", value(overlap.mean(part))}, {"worst", value(overlap.worst(part))}};
}

std::string line(const SetOverlap& overlap, const std::string& name, const Part& part) {
  const auto text = [](const std::optional<double>& share) {
    return share ? fmt::format("{:.4f}", *share) : "-";
  };
  return fmt::format("{:<14}  {:>7}  {:>7}", name, text(overlap.mean(part)),
                     text(overlap.worst(part)));
}

}  // namespace

Json set_overlap_document(const SetOverlap& overlap) {
  Json document = shares(overlap, {});
  document["layers"] = Json::array();
  for (std::size_t n = 0; n < overlap.layers.size(); ++n) {
    Json layer{{"layer", overlap.layers[n]}};
    layer.update(shares(overlap, {n, std::nullopt}));
    layer["by_position"] = Json::array();
    for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
      Json bucket{{"end", overlap.bucket_ends[b]}};
      bucket.update(shares(overlap, {n, b}));
      layer["by_position"].push_back(std::move(bucket));
    }
    document["layers"].push_back(std::move(layer));
  }
  document["by_position"] = Json::array();
  for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
    Json bucket{{"end", overlap.bucket_ends[b]}, {"queries", overlap.queries[b]}};
    bucket.update(shares(overlap, {std::nullopt, b}));
    document["by_position"].push_back(std::move(bucket));
  }
  return document;
}

std::string set_overlap_table(const SetOverlap& overlap, const LayerNumbers& numbers) {
  std::vector<std::string> lines = {fmt::format("{:<14}  {:>7}  {:>7}", "layer", "mean", "worst")};
  for (std::size_t n = 0; n < overlap.layers.size(); ++n) {
    lines.push_back(
        line(overlap, fmt::format("{:>3}", numbers.of(overlap.layers[n])), {n, std::nullopt}));
  }
  lines.push_back(line(overlap, "all", {}));
  for (std::size_t b = 0; b < overlap.bucket_ends.size(); ++b) {
    lines.push_back(
        line(overlap, fmt::format("below {:>6}", overlap.bucket_ends[b]), {std::nullopt, b}));
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

}  // namespace indexcache
