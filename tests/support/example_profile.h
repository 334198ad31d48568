// SPDX-License-Identifier: Apache-2.0
// A profile of the model of example_result.h: two contexts, one shared pattern, requests.
#pragma once

#include "profile/profile.h"

#include <cstddef>
#include <string>

namespace indexcache::test {

inline Profile example_profile(std::size_t layers = 6) {
  const auto pass = [](double seconds, double indexer) {
    return PatternTime{seconds,
                       {{"projections", seconds * (0.9 - indexer)},
                        {"indexer logits", seconds * indexer * 0.75},
                        {"top-k", seconds * indexer * 0.25},
                        {"gaps", seconds * 0.1}}};
  };
  return {.file = {},
          .tool_version = "0.2.0",
          .created_at = "2026-01-02T03:04:05Z",
          .model = {.name = "m",
                    .index_topk = 16,
                    .index_heads = 8,
                    .index_head_dim = 32,
                    .indexer = "exact",
                    .config_sha256 = std::string(64, 'c')},
          .device = "cuda Test indexer fp8",
          .gpu = true,
          .repeat = 3,
          .patterns = {{"full", Pattern::all_full(layers)},
                       {"run", Pattern::parse("FSF" + std::string(layers - 3, 'S'))}},
          .prefill = {{.context = 8192,
                       .set_copy_seconds = 0.001,
                       .times = {pass(0.25, 0.25), pass(0.2265625, 0.2)}},
                      {.context = 32768,
                       .set_copy_seconds = 0.004,
                       .times = {pass(1.25, 0.4), pass(1.0, 0.25)}}},
          .decode = {},
          .traffic = Traffic{.source = "requests.csv",
                             .sha256 = std::string(64, 'a'),
                             .requests = 1000,
                             .prompt_tokens = 9000000,
                             .output_tokens = 300000,
                             .times = {{0.3, 0.25, 0.5, 1.25}, {0.26, 0.2265625, 0.43, 1.0}}},
          .warnings = {"a warning"}};
}

}  // namespace indexcache::test
