// SPDX-License-Identifier: Apache-2.0
#include "distill/training.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace indexcache {
namespace {

constexpr float kBeta1 = 0.9f, kBeta2 = 0.95f, kAdamEpsilon = 1e-8f;
constexpr double kConstantShare = 0.6;  // of the steps, before a cosine begins
constexpr double kLowestRate = 0.05;    // of the highest, at the end of a cosine

std::string student_text(const Student& student) {
  return fmt::format("the indexer of layer {} for layers {} to {}", student.layer, student.layer,
                     student.end - 1);
}

// What keeps a GPU busy: elements of a matrix (256 MiB in float32), and numbers of the rows' hidden
// states.
constexpr std::int64_t kMatrixElements = std::int64_t{1} << 26;
constexpr std::int64_t kRowNumbers = std::int64_t{1} << 22;
constexpr std::int64_t kAllElements = std::int64_t{1} << 30;  // of the matrices held at once

}  // namespace

std::int64_t positions_at_once(const Device& backend, const ModelConfig& config,
                               const std::vector<Student>& students, std::int64_t wave,
                               std::int64_t longest) {
  if (!backend.is_gpu()) return kRangePositions;
  const std::int64_t elements =
      std::min(kMatrixElements, kAllElements / Distiller::matrices(config, students));
  const std::int64_t rows = std::min(elements / longest, kRowNumbers / config.hidden);
  return kRangePositions * std::max<std::int64_t>(rows / (wave * kRangePositions), 1);
}

float rate_at(const StageSettings& settings, std::int64_t step) {
  const std::int64_t warmup =
      std::clamp<std::int64_t>(settings.warmup, 1, std::max<std::int64_t>(1, settings.steps / 5));
  if (step < warmup) {
    return settings.rate * static_cast<float>(step + 1) / static_cast<float>(warmup);
  }
  if (settings.schedule == Schedule::constant) return settings.rate;
  const auto steps = static_cast<double>(settings.steps);
  const double done = (static_cast<double>(step) - kConstantShare * steps) /
                      std::max(1.0, (1 - kConstantShare) * steps);
  if (done <= 0) return settings.rate;
  const double share = 0.5 * (1 + std::cos(std::numbers::pi * done));
  return static_cast<float>(settings.rate * (kLowestRate + (1 - kLowestRate) * share));
}

FeatureSource::FeatureSource(FrozenPass& pass, WeightSource& weights, const TokenSet& tokens,
                             const Shape& shape, const Pattern* pattern)
    : pass_(pass), weights_(weights), tokens_(tokens), shape_(shape), pattern_(pattern) {
  // Batches of nearly equal size, so that no step has much less data than the others.
  const auto count = static_cast<std::int64_t>(tokens.sequences.size());
  const std::int64_t batches = std::max<std::int64_t>(1, (count + shape.batch - 1) / shape.batch);
  for (std::int64_t b = 0; b <= batches; ++b) {
    firsts_.push_back(static_cast<std::size_t>(b * count / batches));
  }
}

FeatureSource::Sequences FeatureSource::batch(std::int64_t index) const {
  const auto b = static_cast<std::size_t>(index % batches());
  return std::span(tokens_.sequences).subspan(firsts_[b], firsts_[b + 1] - firsts_[b]);
}

std::int64_t FeatureSource::waves(std::int64_t index) const {
  return (static_cast<std::int64_t>(batch(index).size()) + shape_.wave - 1) / shape_.wave;
}

const Features& FeatureSource::wave(std::int64_t index, std::int64_t number) {
  const std::pair key(index % batches(), number);
  if (const auto found = kept_.find(key); found != kept_.end()) return found->second;
  current_ = {};  // its memory goes back before the next wave needs it
  const Sequences all = batch(index);
  const auto first = static_cast<std::size_t>(number * shape_.wave);
  const auto count = std::min(all.size() - first, static_cast<std::size_t>(shape_.wave));
  Features features = pass_.run(weights_, all.subspan(first, count), pattern_);
  Features& place = shape_.keep ? kept_[key] : current_;
  place = std::move(features);
  return place;
}

std::int64_t FeatureSource::queries(std::int64_t index,
                                    const std::vector<PositionRange>& ranges) const {
  RowLayout rows;
  for (const auto& sequence : batch(index)) {
    rows.append(static_cast<std::int64_t>(sequence.size()), 0);
  }
  std::int64_t count = 0;
  for (const PositionRange& range : ranges) count += rows_of(rows, range).total;
  return count;
}

Stage::Stage(const StageSettings& settings, DealtStudents& students, std::vector<StagePart> parts,
             std::int64_t longest, std::int64_t split, std::int64_t at_once)
    : settings_(settings),
      students_(students),
      parts_(std::move(parts)),
      training_(*parts_.front().training),
      validation_(*parts_.front().validation),
      ranges_(position_ranges(longest, split, kRangePositions)),
      split_(split),
      at_once_(at_once) {
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
  // A batch gets other ranges in the next epoch.
  const std::int64_t turn = step + step / training_.batches();
  for (std::int64_t r = turn % interval; r < count; r += interval) {
    ranges.push_back(ranges_[static_cast<std::size_t>(r)]);
  }
  return ranges;
}

std::vector<double> Stage::divergences(Source source, std::int64_t batch,
                                       const std::vector<PositionRange>& ranges) {
  const FeatureSource& first = *(parts_.front().*source);
  const auto queries = static_cast<float>(std::max<std::int64_t>(1, first.queries(batch, ranges)));
  const float row_weight = source == &StagePart::training ? 1 / queries : 0.0f;
  const std::vector<PositionRange> joined = joined_ranges(ranges, split_, at_once_);
  std::vector<std::vector<double>> of_parts(parts_.size());
  students_.for_each_part([&](std::size_t p) {
    StudentSet& own = students_.part(p);
    FeatureSource& features = *(parts_[p].*source);
    own.clear_gradients();
    of_parts[p].assign(own.size(), 0.0);
    for (std::int64_t w = 0; w < features.waves(batch); ++w) {
      const std::vector<double> of_wave =
          parts_[p].distiller->add_gradients(features.wave(batch, w), joined, row_weight);
      for (std::size_t i = 0; i < own.size(); ++i) of_parts[p][i] += of_wave[i];
    }
  });
  std::vector<double> sums;
  for (const auto& some : of_parts) sums.insert(sums.end(), some.begin(), some.end());
  return sums;
}

std::vector<float> Stage::clipped() const {
  const std::vector<double> norms = students_.gradient_norms();
  std::vector<float> scales;
  for (std::size_t i = 0; i < norms.size(); ++i) {
    if (!std::isfinite(norms[i])) {
      throw InputError({"the training failed", student_text(students_.students()[i]),
                        fmt::format("its gradient is not finite in step {}", state_.step + 1),
                        "a lower learning rate and --restart"});
    }
    const double limit = settings_.clip;
    scales.push_back(limit > 0 && norms[i] > limit ? static_cast<float>(limit / norms[i]) : 1.0f);
  }
  return scales;
}

void Stage::check(const std::vector<double>& means) const {
  const auto& first = state_.validation.empty() ? means : state_.validation.front().values;
  for (std::size_t i = 0; i < means.size(); ++i) {
    if (std::isfinite(means[i]) && means[i] <= kDivergedFactor * first[i] + 1) continue;
    throw InputError(
        {"the training diverges", student_text(students_.students()[i]),
         fmt::format("its KL divergence is {:.3f} before step {}, at first it was {:.3f}", means[i],
                     state_.step + 1, first[i]),
         "a lower learning rate and --restart"});
  }
}

void Stage::validate() {
  std::vector<double> sums(students_.size(), 0.0);
  double queries = 0;
  for (std::int64_t b = 0; b < validation_.batches(); ++b) {
    const std::vector<double> of_batch = divergences(&StagePart::validation, b, ranges_);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += of_batch[i];
    queries += static_cast<double>(validation_.queries(b, ranges_));
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
  const std::vector<PositionRange> ranges = ranges_of_step(state_.step);
  std::vector<double> means = divergences(&StagePart::training, state_.step, ranges);
  const auto queries = static_cast<double>(training_.queries(state_.step, ranges));
  for (double& mean : means) mean /= std::max(queries, 1.0);
  const std::vector<float> scales = clipped();
  students_.update({.rate = rate_at(settings_, state_.step),
                    .beta1 = kBeta1,
                    .beta2 = kBeta2,
                    .epsilon = kAdamEpsilon,
                    .step = state_.step + 1,
                    .scales = scales});
  state_.training.push_back({state_.step, means});
  ++state_.step;
}

void Stage::finish() {
  if (state_.validation.empty() || state_.validation.back().step != state_.step) validate();
  students_.set_parameters(state_.best);
}

}  // namespace indexcache
