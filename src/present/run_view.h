// SPDX-License-Identifier: Apache-2.0
// What pages show of a run: the numbers of run.json, overlap.h5 and bench.json, checked once.
#pragma once

#include "core/pattern.h"
#include "io/json.h"
#include "search/overlap.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace indexcache {

// A pattern's losses minus all-Full's on the same sequences, in nats a token.
struct Rise {
  Pattern pattern;
  double mean = 0;
  std::optional<double> low;  // 95 % interval; absent for one sequence
  std::optional<double> high;
  std::vector<double> sequences;
};

struct TargetView {
  std::string request;
  Pattern pattern;
  Rise calibration;
  std::optional<Rise> holdout;
  std::optional<Rise> uniform;  // uniform interleaving of the same size, on the held-out sequences
};

struct CandidateView {
  std::size_t layer;
  double rise;  // loss of the step's pattern with this layer shared, over all-Full
};

struct StepView {
  Pattern pattern;  // after the step
  std::size_t removed;
  double rise;
  std::vector<CandidateView> candidates;
};

// Measured prefill of `bench prefill --json`, kept as bench.json in the run folder.
struct BenchView {
  std::int64_t context;
  std::string pattern;
  double milliseconds;
  std::optional<double> speed_up;
  std::vector<std::pair<std::string, double>> stages;  // milliseconds
};

struct RunView {
  std::string name;    // of the model
  std::string folder;  // name of the run folder, to tell runs apart
  Json model;
  Json calibration;
  Json holdout;  // null without held-out sequences
  Json tool;
  Json settings;
  Json fingerprint;
  std::string device;
  std::string created;
  std::vector<std::string> warnings;
  std::size_t layers = 0;
  Pattern baseline = Pattern::parse("F");
  double baseline_loss = 0;
  std::vector<StepView> steps;
  std::vector<TargetView> targets;  // by falling number of F layers
  Overlap overlap;
  std::vector<BenchView> bench;

  // Loss rise after each number of removed indexers: {0, 0}, {1, …}, …
  std::vector<std::pair<std::size_t, double>> curve() const;

  // Where the curve bends: the step farthest from the chord of its ends; none below three steps.
  std::optional<std::size_t> knee() const;

  // Rise when one layer alone is shared (the first step with more than one candidate).
  std::vector<CandidateView> sensitivity() const;
};

// Throws InputError naming the file for a run that is not complete or contradicts itself.
RunView make_run_view(const Json& run, Overlap overlap, const Json& bench,
                      const std::filesystem::path& folder);
RunView read_run_view(const std::filesystem::path& folder);

// Spearman's rank correlation, ties at their mean rank; nullopt below three points or where one
// side does not vary.
std::optional<double> rank_correlation(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace indexcache
