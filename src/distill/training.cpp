// SPDX-License-Identifier: Apache-2.0
#include "distill/training.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace indexcache {
namespace {

constexpr float kBeta1 = 0.9f, kBeta2 = 0.95f, kAdamEpsilon = 1e-8f;
constexpr double kLowestRate = 0.05;  // of the highest, at the end of a cosine

std::string student_text(const Student& student) {
  return fmt::format("the indexer of layer {} for layers {} to {}", student.layer, student.layer,
                     student.end - 1);
}

}  // namespace

float rate_at(const StageSettings& settings, std::int64_t step) {
  const std::int64_t warmup =
      std::clamp<std::int64_t>(settings.warmup, 1, std::max<std::int64_t>(1, settings.steps / 5));
  if (step < warmup) {
    return settings.rate * static_cast<float>(step + 1) / static_cast<float>(warmup);
  }
  if (settings.schedule == Schedule::constant) return settings.rate;
  const double done = static_cast<double>(step - warmup) /
                      static_cast<double>(std::max<std::int64_t>(1, settings.steps - warmup));
  const double share = 0.5 * (1 + std::cos(std::numbers::pi * done));
  return static_cast<float>(settings.rate * (kLowestRate + (1 - kLowestRate) * share));
}

FeatureSource::FeatureSource(FrozenPass& pass, WeightSource& weights, const TokenSet& tokens,
                             std::int64_t batch, const Pattern* pattern, std::int64_t keep_bytes,
                             std::int64_t bytes_per_token)
    : pass_(pass),
      weights_(weights),
      tokens_(tokens),
      pattern_(pattern),
      keep_(tokens.tokens() <= keep_bytes / std::max<std::int64_t>(1, bytes_per_token)) {
  // Batches of nearly equal size, so that no step has much less data than the others.
  const auto count = static_cast<std::int64_t>(tokens.sequences.size());
  const std::int64_t batches = std::max<std::int64_t>(1, (count + batch - 1) / batch);
  for (std::int64_t b = 0; b <= batches; ++b) {
    firsts_.push_back(static_cast<std::size_t>(b * count / batches));
  }
}

const Features& FeatureSource::batch(std::int64_t index) {
  const std::size_t b = static_cast<std::size_t>(index) % batches();
  if (const auto found = kept_.find(b); found != kept_.end()) return found->second;
  current_ = {};  // its memory goes back before the next batch needs it
  const std::span<const std::vector<std::int32_t>> sequences =
      std::span(tokens_.sequences).subspan(firsts_[b], firsts_[b + 1] - firsts_[b]);
  Features features = pass_.run(weights_, sequences, pattern_);
  Features& place = keep_ ? kept_[b] : current_;
  place = std::move(features);
  return place;
}

Stage::Stage(const StageSettings& settings, StudentSet& students, Distiller& distiller,
             FeatureSource& training, FeatureSource& validation, std::int64_t longest,
             std::int64_t split)
    : settings_(settings),
      students_(students),
      distiller_(distiller),
      training_(training),
      validation_(validation),
      ranges_(position_ranges(longest, split, kRangePositions)) {
  state_.best = students.parameters();
  state_.best_divergence.assign(students.size(), HUGE_VAL);
}

bool Stage::finished() const {
  if (state_.step >= settings_.steps) return true;
  return settings_.patience > 0 && state_.stale >= settings_.patience;
}

// Every query_interval-th range, another one in each step.
std::vector<PositionRange> Stage::ranges_of_step(std::int64_t step) const {
  std::vector<PositionRange> ranges;
  const auto count = static_cast<std::int64_t>(ranges_.size());
  const std::int64_t interval = std::min(settings_.query_interval, count);
  for (std::int64_t r = step % interval; r < count; r += interval) {
    ranges.push_back(ranges_[static_cast<std::size_t>(r)]);
  }
  return ranges;
}

std::vector<double> Stage::mean_divergence(const Features& features,
                                           const std::vector<PositionRange>& ranges,
                                           bool training) {
  const auto queries = static_cast<double>(Distiller::queries(features, ranges));
  students_.clear_gradients();
  const float row_weight = training && queries > 0 ? static_cast<float>(1 / queries) : 0.0f;
  std::vector<double> sums = distiller_.add_gradients(features, ranges, row_weight);
  for (double& sum : sums) sum /= std::max(queries, 1.0);
  return sums;
}

std::vector<float> Stage::clipped() const {
  const std::vector<double> norms = students_.gradient_norms();
  std::vector<float> scales;
  for (std::size_t i = 0; i < norms.size(); ++i) {
    if (!std::isfinite(norms[i])) {
      throw InputError({"the training failed", student_text(students_.students()[i]),
                        fmt::format("its gradient is not finite in step {}", state_.step + 1),
                        "a lower --rate; the last saved state is kept"});
    }
    const double limit = settings_.clip;
    scales.push_back(limit > 0 && norms[i] > limit ? static_cast<float>(limit / norms[i]) : 1.0f);
  }
  return scales;
}

void Stage::check(const std::vector<double>& divergences) const {
  const auto& first = state_.validation.empty() ? divergences : state_.validation.front().values;
  for (std::size_t i = 0; i < divergences.size(); ++i) {
    if (std::isfinite(divergences[i]) && divergences[i] <= kDivergedFactor * first[i] + 1) continue;
    throw InputError(
        {"the training diverges", student_text(students_.students()[i]),
         fmt::format("its KL divergence is {:.3f} before step {}, at first it was {:.3f}",
                     divergences[i], state_.step + 1, first[i]),
         "a lower --rate; the last saved state is kept"});
  }
}

void Stage::validate() {
  std::vector<double> sums(students_.size(), 0.0);
  double queries = 0;
  for (std::size_t b = 0; b < validation_.batches(); ++b) {
    const Features& features = validation_.batch(static_cast<std::int64_t>(b));
    const auto count = static_cast<double>(Distiller::queries(features, ranges_));
    const std::vector<double> means = mean_divergence(features, ranges_, false);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += means[i] * count;
    queries += count;
  }
  for (double& sum : sums) sum /= std::max(queries, 1.0);
  check(sums);
  state_.validation.push_back({state_.step, sums});
  const std::vector<float> parameters = students_.parameters();
  const auto columns = static_cast<std::ptrdiff_t>(students_.parameters_per_student());
  bool improved = false;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (sums[i] >= state_.best_divergence[i]) continue;
    improved = true;
    state_.best_divergence[i] = sums[i];
    const auto row = static_cast<std::ptrdiff_t>(i) * columns;
    std::copy_n(parameters.begin() + row, columns, state_.best.begin() + row);
  }
  state_.stale = improved ? 0 : state_.stale + 1;
}

void Stage::step() {
  if (state_.step % settings_.validate_every == 0) {
    const bool done = !state_.validation.empty() && state_.validation.back().step == state_.step;
    if (!done) validate();
    if (finished()) return;
  }
  const std::vector<double> divergences =
      mean_divergence(training_.batch(state_.step), ranges_of_step(state_.step), true);
  const std::vector<float> scales = clipped();
  students_.update({.rate = rate_at(settings_, state_.step),
                    .beta1 = kBeta1,
                    .beta2 = kBeta2,
                    .epsilon = kAdamEpsilon,
                    .step = state_.step + 1,
                    .scales = scales});
  state_.training.push_back({state_.step, divergences});
  ++state_.step;
}

void Stage::finish() {
  if (state_.validation.empty() || state_.validation.back().step != state_.step) validate();
  students_.set_parameters(state_.best);
}

}  // namespace indexcache
