// SPDX-License-Identifier: Apache-2.0
// The options of `run` that constrain the pattern, and whether they can be met together.
#pragma once

#include "model/model.h"
#include "search/constraints.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// A retention that was asked for, as a number of F layers.
struct Request {
  std::string text;
  std::size_t full;
};

struct ConstraintOptions {
  std::vector<std::string> keep;
  std::vector<std::size_t> remove;
  std::optional<double> max_rise = {};  // of the loss, in nats per token
  std::vector<std::size_t> pin_full;
  std::vector<std::size_t> pin_shared;
  std::size_t max_run = 0;
  std::size_t pp_size = 0;
  std::vector<std::size_t> pp_partition;
  bool native_sharing = false;
};

// Number of F layers that "1/4", "0.25" or "12" asks for; a ratio of all layers is rounded up, as
// uniform interleaving does. Throws UsageError naming `place`.
std::size_t parse_keep(const std::string& text, std::size_t layers,
                       const std::string& place = "--keep");

// The pattern that the search begins with, "all-Full" in its reports: every indexer that exists, or
// with --native-sharing the schedule of config.json.
Pattern search_baseline(const ConstraintOptions& options, const Model& model);

// Throws UsageError for a layer that cannot be pinned so, or for runs that no pattern can keep.
Constraints make_constraints(const ConstraintOptions& options, const Pattern& baseline,
                             const LayerNumbers& numbers = {});

// For ratios of a baseline that has fewer indexers than layers: how many of them stay, and which
// number of layers means that ratio of the indexers.
std::vector<std::string> warnings_of_ratios(const ConstraintOptions& options,
                                            const Pattern& baseline);

// By falling number of F layers, without duplicates. Throws UsageError for a target that the
// constraints leave no pattern for, and if there is none and no --max-rise either.
std::vector<Request> make_requests(const ConstraintOptions& options, const Pattern& baseline,
                                   const Constraints& constraints);

}  // namespace indexcache
