// SPDX-License-Identifier: Apache-2.0
// Keeps the paths that searches take, and reports their steps.
#pragma once

#include "core/layer_numbers.h"
#include "core/progress.h"
#include "run/instruments.h"
#include "search/strategy.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

// What the search is expected to take, for progress lines; 0 if unknown.
struct ExpectedWork {
  std::vector<std::size_t> steps = {};  // of each strategy
  std::int64_t evaluations = 0;
};

class PathRecorder {
 public:
  // The references must outlive it.
  PathRecorder(Instruments& instruments, Progress& progress, ExpectedWork expected,
               LayerNumbers numbers = {});

  // The value that differences refer to, and the number of sequences that it is of.
  void set_start(double loss, std::size_t sequences);

  // Begins a path, and names the work that follows.
  void begin(WorkPart part, const Pattern& start);
  // Names work that belongs to no path.
  void continue_with(WorkPart part, const std::string& label);
  // Receives what the search of this path finds.
  SearchSink sink();

  const std::vector<SearchPath>& paths() const { return paths_; }
  std::vector<SearchPath> take() { return std::move(paths_); }
  // "the search (segments) after 2 of 3 steps": where the latest path ended.
  std::string place_text() const;

 private:
  void add_measured(std::vector<Considered> patterns);
  void name_step();
  std::string step_name(const SearchPath& path, std::size_t number) const;
  std::size_t expected_steps() const;  // of the latest path; 0 if unknown
  double evaluations(const std::vector<Considered>& patterns) const;
  std::string saved_text(const std::vector<Considered>& patterns) const;
  std::string time_left() const;
  void tell_step();
  void tell_end(const Neighborhood& around);

  Instruments& instruments_;
  Progress& progress_;
  ExpectedWork expected_;
  LayerNumbers numbers_;  // for what is told
  double start_loss_ = 0;
  std::size_t sequences_ = 1;
  std::vector<SearchPath> paths_;
  WorkPart part_;
  double evaluated_ = 0;
  std::size_t sweeps_before_ = 0;  // when the step began
};

}  // namespace indexcache
