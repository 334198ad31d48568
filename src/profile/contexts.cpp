// SPDX-License-Identifier: Apache-2.0
#include "profile/contexts.h"

#include <algorithm>
#include <array>
#include <set>

namespace indexcache {
namespace {

constexpr std::array<std::int64_t, 6> kLadder = {10000, 16384, 32768, 65536, 131072, 200000};
constexpr std::array<std::int64_t, 4> kShort = {512, 1024, 2048, 4096};

}  // namespace

std::vector<std::int64_t> default_contexts(
    const ContextLimits& limits, std::optional<std::pair<std::int64_t, std::int64_t>> lengths) {
  std::set<std::int64_t> contexts;
  const auto add_between = [&](const auto& ladder, std::int64_t above, std::int64_t most) {
    for (const std::int64_t context : ladder) {
      if (context > above && context <= most) contexts.insert(context);
    }
  };
  if (lengths) {
    const auto [shortest, longest] = *lengths;
    add_between(kLadder, shortest, longest);
    add_between(kShort, shortest, longest);
    // Where the curve bends.
    add_between(std::array{limits.first_selecting}, shortest, longest);
    contexts.insert({shortest, longest});
  } else {
    add_between(kLadder, limits.first_selecting, limits.most);
    if (contexts.size() < 2) {
      add_between(std::array{limits.most / 4, limits.most / 2, limits.most}, limits.first_selecting,
                  limits.most);
    }
  }
  return {contexts.begin(), contexts.end()};
}

}  // namespace indexcache
