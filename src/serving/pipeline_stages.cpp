// SPDX-License-Identifier: Apache-2.0
#include "serving/pipeline_stages.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace indexcache {

std::vector<std::size_t> even_stages(StageCut cut, std::size_t stages, std::size_t layers) {
  if (stages < 1 || stages > layers) {
    throw UsageError({fmt::format("the model cannot be cut into {} pipeline stages", stages),
                      "--pp-size", fmt::format("the model has {} layers", layers),
                      fmt::format("from 1 to {} stages", layers)});
  }
  std::vector<std::size_t> sizes(stages, layers / stages);
  const std::size_t last = cut == StageCut::spare_before_last ? stages - 2 : stages - 1;
  for (std::size_t i = 0; i < layers % stages; ++i) ++sizes[last - i];
  return sizes;
}

std::vector<std::size_t> stage_starts(const std::vector<std::size_t>& sizes, std::size_t layers) {
  std::vector<std::size_t> starts;
  std::size_t next = 0;
  for (const std::size_t size : sizes) {
    if (size == 0) {
      throw UsageError({"a pipeline stage has no layers", "--pp-partition", "",
                        "the number of layers of each stage, such as 20,20,21"});
    }
    if (next > 0) starts.push_back(next);
    next += size;
  }
  if (next == layers) return starts;
  throw UsageError(
      {"the pipeline stages do not add up to the model", "--pp-partition",
       fmt::format("the stages have {} layers in total, the model has {}", next, layers),
       "the number of layers of each stage, without MTP layers"});
}

std::vector<std::size_t> even_stage_starts(std::size_t stages, std::size_t layers) {
  std::set<std::size_t> starts;
  for (const StageCut cut : {StageCut::spare_before_last, StageCut::spare_last}) {
    for (const std::size_t start : stage_starts(even_stages(cut, stages, layers), layers)) {
      starts.insert(start);
    }
  }
  return {starts.begin(), starts.end()};
}

std::optional<std::vector<std::size_t>> stages_on_full_layers(const Pattern& pattern,
                                                              std::size_t stages) {
  const std::vector<std::size_t> full = pattern.full_layers();
  if (stages < 1 || stages > full.size()) return std::nullopt;
  const std::size_t ends = full.size();
  const auto begin_of = [&](std::size_t i) { return i < ends ? full[i] : pattern.layers(); };
  // largest[s][i]: the smallest possible largest stage if s stages cover the layers from full[i].
  std::vector<std::vector<std::size_t>> largest(
      stages + 1, std::vector<std::size_t>(ends + 1, pattern.layers() + 1));
  largest[0][ends] = 0;
  for (std::size_t s = 1; s <= stages; ++s) {
    for (std::size_t i = 0; i < ends; ++i) {
      for (std::size_t next = i + 1; next <= ends; ++next) {
        const std::size_t size = std::max(begin_of(next) - begin_of(i), largest[s - 1][next]);
        largest[s][i] = std::min(largest[s][i], size);
      }
    }
  }
  std::vector<std::size_t> sizes;
  const std::size_t bound = largest[stages][0];
  for (std::size_t at = 0, left = stages; left > 0; --left) {
    std::size_t next = at + 1;
    while (std::max(begin_of(next) - begin_of(at), largest[left - 1][next]) > bound) ++next;
    sizes.push_back(begin_of(next) - begin_of(at));
    at = next;
  }
  return sizes;
}

}  // namespace indexcache
