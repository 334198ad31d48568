// SPDX-License-Identifier: Apache-2.0
#include "result/profile_match.h"

#include "core/error.h"

#include <fmt/format.h>

namespace indexcache {
namespace {

std::string shape_text(std::int64_t heads, std::int64_t width, std::int64_t top_k) {
  return fmt::format("indexers of {} heads x {}, top-{}", heads, width, top_k);
}

// Empty if they agree. Random weights have every indexer, and then only layers are compared.
std::string difference(const Profile& profile, const ModelSummary& model) {
  const ProfiledModel& measured = profile.model;
  const Pattern& full = profile.patterns.front().pattern;
  if (full.layers() != model.layers) {
    return fmt::format("it has {} layers, and the model {}", full.layers(), model.layers);
  }
  const std::string own =
      shape_text(measured.index_heads, measured.index_head_dim, measured.index_topk);
  const std::string wanted = shape_text(model.index_heads, model.index_head_dim, model.index_topk);
  if (own != wanted) return fmt::format("it has {}, and the model {}", own, wanted);
  const bool is_random = measured.config_sha256.empty();
  if (is_random) return "";
  if (full != Pattern::from_full_layers(model.has_indexer)) {
    return "other layers own an indexer";
  }
  return measured.config_sha256 == model.config_sha256 ? "" : "it is of another config.json";
}

}  // namespace

void check_profile(const Profile& profile, const ModelSummary& model) {
  const std::string why = difference(profile, model);
  if (why.empty()) return;
  throw InputError({"the profile is of a different model", profile.file.string(), why,
                    "`profile` of the model of this run"});
}

}  // namespace indexcache
