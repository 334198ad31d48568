// SPDX-License-Identifier: Apache-2.0
// What a search makes small.
#pragma once

#include "calibration/token_set.h"
#include "core/pattern.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace indexcache {

enum class Objective {
  loss,  // next-token loss, as the paper
  kl,    // KL(all-Full || pattern) of the next token's distribution
  tail,  // next-token loss of the positions that select, where patterns can differ
};
inline constexpr std::array<std::string_view, 3> kObjectiveNames = {"loss", "kl", "tail"};

constexpr std::string_view name_of(Objective objective) {
  return kObjectiveNames[static_cast<std::size_t>(objective)];
}

// nullopt for an unknown name.
std::optional<Objective> find_objective(std::string_view name);

// Of each sequence: how many tokens the objective averages; `first_selecting` as in ModelConfig.
std::vector<double> averaged_tokens(const TokenSet& tokens, Objective objective,
                                    std::int64_t first_selecting);

class SegmentIndexers;

// What a sweep computes of each pattern.
struct SweepGoal {
  Objective objective = Objective::loss;
  // Runs along in every sweep, to be compared with; required by Objective::kl and for fidelity.
  std::optional<Pattern> reference = std::nullopt;
  // Null: only those of the checkpoint run.
  const SegmentIndexers* indexers = nullptr;
};

}  // namespace indexcache
