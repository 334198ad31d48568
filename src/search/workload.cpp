// SPDX-License-Identifier: Apache-2.0
#include "search/workload.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace indexcache {
namespace {

bool belongs(const CountedSweep& sweep, Phase phase, std::string_view method) {
  return sweep.phase == phase && (method.empty() || sweep.method == method);
}

// Shares of sequences are not exact in binary.
std::int64_t rounded_up(double sum) {
  return static_cast<std::int64_t>(std::ceil(sum - 1e-6));
}

}  // namespace

std::int64_t Workload::passes() const {
  std::int64_t passes = 0;
  for (const CountedSweep& sweep : sweeps) passes += sweep.passes;
  return passes;
}

std::int64_t Workload::evaluations(Phase phase, std::string_view method) const {
  double evaluations = 0;
  for (const CountedSweep& sweep : sweeps) {
    if (!belongs(sweep, phase, method)) continue;
    evaluations += sweep.share * static_cast<double>(sweep.evaluations);
  }
  return rounded_up(evaluations);
}

std::int64_t Workload::layer_visits(Phase phase, std::string_view method) const {
  double visits = 0;
  for (const CountedSweep& sweep : sweeps) {
    if (!belongs(sweep, phase, method)) continue;
    visits += sweep.share * static_cast<double>(sweep.visits.stream_layers());
  }
  return rounded_up(visits);
}

std::array<std::int64_t, kMemoryKinds> Workload::most_bytes() const {
  const auto most = std::ranges::max_element(
      sweeps, {}, [](const CountedSweep& sweep) { return sweep.cut.total(); });
  return most == sweeps.end() ? std::array<std::int64_t, kMemoryKinds>{} : most->cut.bytes;
}

std::int64_t Workload::most_bytes_total() const {
  const auto bytes = most_bytes();
  return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
}

std::size_t Workload::most_waves() const {
  std::size_t most = 0;
  for (const CountedSweep& sweep : sweeps) most = std::max(most, sweep.cut.waves.size());
  return most;
}

const CountedSweep* Workload::tight() const {
  const auto found =
      std::ranges::find(sweeps, false, [](const CountedSweep& sweep) { return sweep.cut.fits; });
  return found == sweeps.end() ? nullptr : &*found;
}

CountedSweep count_sweep(const SweepPlanner& planner, Phase phase,
                         std::span<const Pattern> patterns, std::span<const std::size_t> sequences,
                         std::int64_t kept_row_bytes) {
  CountedSweep sweep{
      phase, patterns.size(), 0, 0, {}, planner.plan(patterns.size(), sequences, kept_row_bytes)};
  for (const std::size_t s : sequences) {
    sweep.tokens += static_cast<std::int64_t>(planner.tokens().sequences[s].size());
  }
  sweep.patterns.assign(patterns.begin(), patterns.end());
  sweep.sequences.assign(sequences.begin(), sequences.end());
  sweep.share = static_cast<double>(sweep.tokens) / static_cast<double>(planner.tokens().tokens());
  for (const auto& group : planner.groups(patterns, sweep.cut)) {
    sweep.visits += count_visits(group, planner.config(), planner.indexers());
    sweep.passes += static_cast<std::int64_t>(sweep.cut.waves.size());
  }
  return sweep;
}

}  // namespace indexcache
