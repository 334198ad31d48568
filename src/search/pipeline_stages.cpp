// SPDX-License-Identifier: Apache-2.0
#include "search/pipeline_stages.h"

#include "core/error.h"

#include <fmt/format.h>

#include <set>

namespace indexcache {

std::vector<std::size_t> stage_starts(const std::vector<std::size_t>& sizes, std::size_t layers) {
  std::vector<std::size_t> starts;
  std::size_t next = 0;
  for (const std::size_t size : sizes) {
    if (size == 0) {
      throw UsageError({"a pipeline stage has no layer", "--pp-partition", "",
                        "the number of layers of each stage, such as 20,20,21"});
    }
    if (next > 0) starts.push_back(next);
    next += size;
  }
  if (next == layers) return starts;
  throw UsageError({"the pipeline stages do not hold the model's layers", "--pp-partition",
                    fmt::format("they have {} layers together, the model has {}", next, layers),
                    "the number of layers of each stage, MTP layers left out"});
}

std::vector<std::size_t> even_stage_starts(std::size_t stages, std::size_t layers) {
  if (stages < 1 || stages > layers) {
    throw UsageError({fmt::format("{} pipeline stages cannot be cut", stages), "--pp-size",
                      fmt::format("the model has {} layers", layers),
                      fmt::format("from 1 to {} stages", layers)});
  }
  const std::size_t spare = layers % stages;
  std::vector<std::size_t> vllm(stages, layers / stages);
  std::vector<std::size_t> sglang = vllm;
  for (std::size_t i = 0; i < spare; ++i) {
    ++vllm[stages - 2 - i];
    ++sglang[stages - 1 - i];
  }
  std::set<std::size_t> starts;
  for (const auto& sizes : {vllm, sglang}) {
    for (const std::size_t start : stage_starts(sizes, layers)) starts.insert(start);
  }
  return {starts.begin(), starts.end()};
}

}  // namespace indexcache
