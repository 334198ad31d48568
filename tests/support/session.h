// SPDX-License-Identifier: Apache-2.0
// A model on the CPU with its weights, for tests of the search.
#pragma once

#include "backend/cpu/cpu_backend.h"
#include "model/model.h"
#include "model/model_weights.h"
#include "search/sweep_evaluator.h"

#include <filesystem>
#include <optional>
#include <utility>

namespace indexcache::test {

template <typename BackendType = CpuBackend>
struct Session {
  // `arguments` are those of the backend's constructor.
  template <typename... Arguments>
  explicit Session(const std::filesystem::path& folder, std::optional<double> mla_norm_eps = {},
                   Placement placement = Placement::resident, Arguments... arguments)
      : model(open_model(folder, mla_norm_eps)),
        backend(arguments...),
        weights(model.config, model.checkpoint, model.has_indexer, backend, placement) {}

  // Room for every token set of the tests in one wave.
  SweepEvaluator evaluator(const TokenSet& tokens,
                           SweepMemory options = {.memory_bytes = std::int64_t{4} << 30},
                           SweepGoal goal = {}) {
    return {model.config, weights, backend, tokens, options, std::move(goal)};
  }

  Model model;
  BackendType backend;
  ModelWeights weights;
};

// The first sequences of a set, cut to `length` tokens.
inline TokenSet cut(TokenSet set, std::size_t sequences, std::size_t length) {
  set.sequences.resize(sequences);
  for (auto& sequence : set.sequences) sequence.resize(length);
  return set;
}

}  // namespace indexcache::test
