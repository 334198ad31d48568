// SPDX-License-Identifier: Apache-2.0
// What a run searches for, and on which data.
#pragma once

#include "core/progress.h"
#include "result/result.h"
#include "run/calibration_data.h"
#include "run/distill_subject.h"
#include "run/session.h"
#include "run/targets.h"
#include "search/objective.h"
#include "search/segment_indexers.h"
#include "search/strategy.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// What decides a search, apart from where its result goes.
struct SearchOptions {
  DeviceOptions device;
  CalibrationOptions calibration;
  ConstraintOptions constraints;
  std::string holdout = "auto";  // a file, a share, or "auto"
  // Names of strategies, in their order, and of a refinement or "none".
  std::vector<std::string> strategies = default_strategies();
  std::string refine = "swap";
  std::string objective = "loss";
  // Of races: a probability, "none", or "auto" (the default, if there are enough sequences).
  std::string confidence = "auto";
  bool race_greedy = false;  // races apply to every strategy
  bool stability = false;    // search on each half of the sequences as well
  // Data that an indexer is trained on for every segment; empty: the checkpoint's indexers are
  // searched with.
  std::vector<std::string> distill;
  DistillOptions training = {};                             // of those indexers
  StageSettings finishing = {.steps = 150, .rate = 2e-3f};  // of those of the chosen pattern
};

// Indexers for the segments of patterns.
struct SegmentTraining {
  DistillOptions options;    // of the pass that trains them all
  DistillOptions finishing;  // of those of a chosen pattern; its output is set for each
  DistillSubject subject;
};

struct SearchSubject {
  SearchSpace space;              // its targets are those of `requests`
  std::vector<Request> requests;  // by falling number of F layers, without duplicates
  std::optional<double> max_rise = std::nullopt;  // one more target, whose size the search finds
  std::vector<const Strategy*> strategies;
  const Refinement* refinement;  // null: none
  Objective objective = Objective::loss;
  bool race_all = false;   // space.races applies to strategies that do not race by default, too
  bool stability = false;  // each half of the sequences is searched by itself, too
  CalibrationData data;
  std::vector<std::string> warnings;
  LayerNumbers numbers = {};  // which layers the letters of its patterns are
  std::optional<SegmentTraining> training = std::nullopt;
  // What patterns run instead of the checkpoint's indexers; null: nothing.
  std::shared_ptr<const SegmentIndexers> indexers = nullptr;

  // Whether any part of the search is a race.
  bool races_anything() const;
  SearchSettings settings() const;
};

// Checks everything that can be checked before a weight is read. Throws UsageError for a hold-out
// that is neither a file nor a share, and what Backend::check, make_constraints, make_requests and
// CalibrationLoader throw.
SearchSubject open_subject(const SearchOptions& options, const Model& model, const Backend& backend,
                           Progress& progress);

}  // namespace indexcache
