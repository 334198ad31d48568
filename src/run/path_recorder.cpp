// SPDX-License-Identifier: Apache-2.0
#include "run/path_recorder.h"

#include "present/target_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace indexcache {

PathRecorder::PathRecorder(Instruments& instruments, Progress& progress, ExpectedWork expected,
                           LayerNumbers numbers)
    : instruments_(instruments),
      progress_(progress),
      expected_(std::move(expected)),
      numbers_(std::move(numbers)) {}

void PathRecorder::set_start(double loss, std::size_t sequences) {
  start_loss_ = loss;
  sequences_ = sequences;
}

void PathRecorder::begin(WorkPart part, const Pattern& start) {
  paths_.push_back({std::string(part.method), start, {}});
  part_ = part;
  name_step();
}

SearchSink PathRecorder::sink() {
  return {[this](PathStep step) {
            evaluated_ += evaluations(step.considered);
            paths_.back().steps.push_back(std::move(step));
            tell_step();
            name_step();
          },
          [this](std::vector<Considered> measured) {
            evaluated_ += evaluations(measured);
            progress_.note(fmt::format("{}  {} patterns measured{}{}", part_.method,
                                       measured.size(), saved_text(measured), time_left()));
            add_measured(std::move(measured));
          },
          [this](Neighborhood neighborhood) {
            evaluated_ += evaluations(neighborhood.considered);
            tell_end(neighborhood);
            paths_.back().neighborhood = std::move(neighborhood);
          }};
}

// A search for several sizes, one after another, measures more for each of them.
void PathRecorder::add_measured(std::vector<Considered> patterns) {
  std::vector<Considered>& known = paths_.back().measured;
  for (Considered& considered : patterns) {
    const auto found = std::ranges::find(known, considered.pattern, &Considered::pattern);
    if (found == known.end()) {
      known.push_back(std::move(considered));
    } else if (found->losses.size() < considered.losses.size()) {
      *found = std::move(considered);
    }
  }
}

void PathRecorder::continue_with(WorkPart part, const std::string& label) {
  part_ = part;
  instruments_.begin(part, label);
}

double PathRecorder::evaluations(const std::vector<Considered>& patterns) const {
  return evaluations_of(patterns, sequences_);
}

std::string PathRecorder::saved_text(const std::vector<Considered>& patterns) const {
  const auto all = static_cast<double>(patterns.size());
  const double saved = all - evaluations(patterns);
  return saved > 0 ? fmt::format("; races saved {:.1f} of {} evaluations", saved, all) : "";
}

void PathRecorder::name_step() {
  sweeps_before_ = instruments_.workload().sweeps.size();
  instruments_.begin(part_, step_name(paths_.back(), paths_.back().steps.size() + 1));
}

std::size_t PathRecorder::expected_steps() const {
  const std::size_t place = paths_.size() - 1;
  const bool known = part_.phase == Phase::search && place < expected_.steps.size();
  return known ? expected_.steps[place] : 0;
}

// "greedy step 3/12"; a refinement's number of steps is not known.
std::string PathRecorder::step_name(const SearchPath& path, std::size_t number) const {
  const std::size_t steps = expected_steps();
  return fmt::format("{} step {}{}", path.method, number,
                     steps >= number ? fmt::format("/{}", steps) : "");
}

std::string PathRecorder::place_text() const {
  const std::string_view phase = kPhaseNames[static_cast<std::size_t>(part_.phase)];
  if (paths_.empty() || part_.method.empty()) return fmt::format("the {}", phase);
  const std::size_t steps = expected_steps();
  return fmt::format("the {} ({}) after {}{} steps", phase, paths_.back().method,
                     paths_.back().steps.size(), steps > 0 ? fmt::format(" of {}", steps) : "");
}

std::string PathRecorder::time_left() const {
  const double left = static_cast<double>(expected_.evaluations) - evaluated_;
  const double seconds = instruments_.seconds_for(left);
  if (part_.phase != Phase::search || seconds <= 0) return "";
  return fmt::format("  about {} left", format_duration(seconds));
}

void PathRecorder::tell_end(const Neighborhood& around) {
  const SearchPath& path = paths_.back();
  const Pattern& pattern = path.steps.empty() ? path.start : path.steps.back().pattern;
  const std::size_t measured = around.considered.size();
  const std::string others =
      measured == around.patterns
          ? fmt::format("{} measured", measured)
          : fmt::format("{} of {} measured, the others are predicted to be worse", measured,
                        around.patterns);
  progress_.note(fmt::format("{}  {}  no single move improves it ({}{})", part_.method,
                             pattern.text(), others, saved_text(around.considered)));
}

void PathRecorder::tell_step() {
  const SearchPath& path = paths_.back();
  const PathStep& step = path.steps.back();
  const std::size_t count = path.steps.size();
  const Pattern& before = count > 1 ? path.steps[count - 2].pattern : path.start;
  std::string moves;
  // The steps of some strategies are patterns of different sizes, not moves.
  const auto shared = newly_shared(before, step.pattern);
  const auto restored = newly_shared(step.pattern, before);
  if (shared.size() == 1) moves += fmt::format("  layer {} shared", numbers_.of(shared[0]));
  if (shared.size() == 1 && restored.size() == 1) {
    moves += fmt::format("  layer {} full", numbers_.of(restored[0]));
  }
  const bool measured = instruments_.workload().sweeps.size() > sweeps_before_;
  progress_.note(fmt::format("{}  {}{}  delta {}{}", step_name(path, count), step.pattern.text(),
                             moves, delta_text(step.loss - start_loss_),
                             measured ? time_left() : "  (measured before)"));
}

}  // namespace indexcache
