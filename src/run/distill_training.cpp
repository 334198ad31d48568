// SPDX-License-Identifier: Apache-2.0
#include "run/distill_training.h"

#include "core/bytes.h"
#include "core/created.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "distill/student_weights.h"
#include "run/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <string>
#include <utility>

namespace indexcache {
namespace {

// Rows that pass through a layer together.
std::int64_t chunk_rows(const Device& backend, const ModelConfig& config,
                        const std::vector<Student>& students, std::int64_t wave,
                        std::int64_t longest) {
  return wave * std::min(longest, positions_at_once(backend, config, students, wave, longest));
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<TrainingPoint> curve_of(const std::vector<DivergencePoint>& points) {
  std::vector<TrainingPoint> curve;
  for (const DivergencePoint& point : points) curve.push_back({point.step, point.values});
  return curve;
}

}  // namespace

std::int64_t training_bytes(const ModelConfig& config, const Device& backend,
                            const std::vector<Student>& students, std::int64_t wave,
                            std::int64_t longest, bool sparse) {
  const std::int64_t rows = wave * longest,
                     chunk = chunk_rows(backend, config, students, wave, longest);
  const std::int64_t residual = rows * 4 * config.residual_width();
  // Copies of the weights that make queries of attention, where layers do not stay.
  std::int64_t query_weights = 0;
  for (const Student& student : students) {
    query_weights = std::max(query_weights, static_cast<std::int64_t>(student.end));
  }
  query_weights *= static_cast<std::int64_t>(size_of(backend.activation())) * config.heads *
                   (config.q_head_rows() * config.q_latent_width() +
                    config.kv_lora_rank * config.qk_nope_head_dim);
  return rows * FrozenPass::feature_row_bytes(config, backend, students, sparse) + residual +
         query_weights + chunk * Decoder::row_bytes(config, backend) +
         Distiller::bytes(config, backend, students, rows, chunk, longest) +
         backend.scratch_bytes(config.shape(), chunk, longest);
}

namespace {

std::int64_t all_feature_bytes(const ModelConfig& config, const Device& backend,
                               const DistillSubject& subject) {
  return FrozenPass::feature_row_bytes(config, backend, subject.students, false) *
         (subject.training.tokens() + subject.validation.tokens());
}

// Whether the features of all sequences have room, with as much left for other things.
bool keeps_features(const ModelConfig& config, const Device& backend, const DistillSubject& subject,
                    std::int64_t wave, bool sparse, std::int64_t room) {
  const std::int64_t working =
      training_bytes(config, backend, subject.students, wave, subject.longest(), sparse);
  return all_feature_bytes(config, backend, subject) <= (room - working) / 2;
}

}  // namespace

TrainingFit fit_training(const ModelConfig& config, const Device& backend,
                         const DistillSubject& subject, std::int64_t batch, bool sparse,
                         std::int64_t room) {
  const auto needed = [&](std::int64_t wave) {
    return training_bytes(config, backend, subject.students, wave, subject.longest(), sparse);
  };
  auto wave = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(batch)));
  while (wave > 1 && needed(wave) > room) wave /= 2;
  const bool keeps = keeps_features(config, backend, subject, wave, sparse, room);
  return {wave, keeps, needed(wave) + (keeps ? all_feature_bytes(config, backend, subject) : 0)};
}

DistillTraining::DistillTraining(const DistillOptions& options, const Model& model,
                                 const DistillSubject& subject, Session& session,
                                 Progress& progress, Fingerprint fingerprint,
                                 std::filesystem::path state)
    : options_(options),
      model_(model),
      subject_(subject),
      session_(session),
      progress_(progress),
      fingerprint_(std::move(fingerprint)),
      file_(std::move(state)),
      students_(model, session.backend(), subject.students),
      budget_(parse_duration(options.budget)) {
  if (auto stored = read_training_state(file_, fingerprint_, students_.size(),
                                        students_.parameters_per_student())) {
    state_ = std::move(*stored);
    progress.note(fmt::format("continuing after step {} of the {} stage", state_.stages.back().step,
                              kTrainingStages[state_.stages.size() - 1]));
  } else {
    state_.wave = fit().wave;
  }
}

double DistillTraining::seconds() const {
  return state_.seconds + std::chrono::duration<double>(Clock::now() - begin_).count();
}

std::int64_t DistillTraining::room() const {
  return session_.backend().memory_bytes() - session_.weight_bytes() -
         StudentSet::bytes(model_.config, session_.backend(), students_.size());
}

TrainingFit DistillTraining::fit() const {
  const TrainingFit fit = fit_training(model_.config, session_.backend(), subject_,
                                       options_.dense.batch, stages() > 1, room());
  if (fit.bytes <= room() || !session_.backend().is_gpu()) return fit;
  throw ResourceError(
      {"the device has too little memory for the training", "--memory-limit",
       fmt::format("one sequence of {} tokens needs {}, and {} are free", subject_.longest(),
                   bytes_text(fit.bytes), bytes_text(std::max<std::int64_t>(room(), 0))),
       "a GPU with more memory, --precision bf16, or --weights stream"});
}

void DistillTraining::train(std::size_t number) {
  const bool begun = state_.stages.size() > number;
  if (begun && state_.stages[number].over) {
    shown_.push_back(state_.stages[number]);
    return students_.set_parameters(state_.stages[number].best);
  }
  Backend& backend = session_.backend();
  const std::int64_t longest = subject_.longest();
  FrozenPass pass(model_.config, backend, longest, subject_.students,
                  chunk_rows(backend, model_.config, subject_.students, state_.wave, longest));
  std::map<std::size_t, IndexerWeights> indexers;
  for (std::size_t i = 0; i < students_.size(); ++i) {
    indexers[subject_.students[i].layer] = students_.weights(i);
  }
  StudentWeights weights(session_.weights(), std::move(indexers));
  Distiller distiller(model_.config, backend, pass, students_);
  const bool sparse = number == 1;
  const Pattern* pattern = sparse ? &subject_.pattern : nullptr;
  // With a pattern the students decide what is seen.
  const bool keeps = !sparse && keeps_features(model_.config, backend, subject_, state_.wave,
                                               stages() > 1, room());
  const FeatureSource::Shape shape{options_.dense.batch, state_.wave, keeps};
  FeatureSource training(pass, weights, subject_.training, shape, pattern);
  FeatureSource validation(pass, weights, subject_.validation, shape, pattern);
  Stage stage(settings(number), students_, distiller, training, validation, longest,
              model_.config.first_selecting_position(),
              positions_at_once(backend, model_.config, subject_.students, state_.wave, longest));
  if (begun) {
    stage.state() = state_.stages[number];
    students_.restore(state_.students);
  } else {
    students_.clear_moments();
    state_.stages.push_back(stage.state());
  }
  loop(stage, number);
}

// A step that a signal ends was not begun, as far as the state is concerned.
void DistillTraining::step(Stage& stage, std::size_t number) {
  try {
    stage.step();
  } catch (const Interrupted&) {
    save(number, stage.state());
    throw;
  }
}

void DistillTraining::loop(Stage& stage, std::size_t number) {
  if (!budget_begin_) budget_begin_ = Clock::now();
  const auto spent = [&] {
    return std::chrono::duration<double>(Clock::now() - *budget_begin_).count();
  };
  auto saved = Clock::now();
  std::size_t told = stage.state().validation.size();
  while (!stage.finished()) {
    if (budget_ > 0 && spent() >= budget_) {
      in_time_ = false;
      break;
    }
    step(stage, number);
    progress_.update(fmt::format("{} stage", kTrainingStages[number]),
                     static_cast<std::size_t>(stage.state().step),
                     static_cast<std::size_t>(stage.settings().steps));
    tell(stage.state(), number, told);
    if (std::chrono::duration<double>(Clock::now() - saved).count() < options_.save_seconds) {
      continue;
    }
    save(number, stage.state());
    saved = Clock::now();
  }
  // A stage that the budget ends is saved as it is, so that the same command continues it; and no
  // step is lost to a signal in what follows.
  save(number, stage.state());
  stage.finish();
  tell(stage.state(), number, told);
  shown_.push_back(stage.state());
  if (!in_time_) return;
  stage.state().over = true;
  save(number, stage.state());
}

void DistillTraining::tell(const StageState& stage, std::size_t number, std::size_t& told) {
  for (; told < stage.validation.size(); ++told) {
    const DivergencePoint& point = stage.validation[told];
    progress_.note(fmt::format("{} stage, step {}: KL divergence {:.4f} on validation sequences",
                               kTrainingStages[number], point.step, mean_of(point.values)));
  }
}

void DistillTraining::save(std::size_t number, const StageState& stage) {
  state_.stages[number] = stage;
  state_.students = students_.state();
  TrainingState stored = state_;
  stored.seconds = recorded_seconds(seconds()).value_or(0);
  write_training_state(file_, stored, fingerprint_);
}

std::vector<std::optional<double>> DistillTraining::mass_recall() {
  Backend& backend = session_.backend();
  const std::int64_t longest = subject_.longest();
  FrozenPass pass(model_.config, backend, longest, subject_.students,
                  chunk_rows(backend, model_.config, subject_.students, state_.wave, longest));
  Distiller distiller(model_.config, backend, pass, students_);
  FeatureSource source(pass, session_.weights(), subject_.validation,
                       {options_.dense.batch, state_.wave}, nullptr);
  const auto ranges = position_ranges(
      longest, model_.config.first_selecting_position(),
      positions_at_once(backend, model_.config, subject_.students, state_.wave, longest));
  std::vector<double> sums(students_.size(), 0.0);
  std::int64_t queries = 0;
  for (std::int64_t b = 0; b < source.batches(); ++b) {
    for (std::int64_t w = 0; w < source.waves(b); ++w) {
      const auto recall = distiller.mass_recall(source.wave(b, w), ranges);
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += recall.sums[i];
      queries += recall.queries;
    }
  }
  std::vector<std::optional<double>> mass(sums.size());
  for (std::size_t i = 0; i < sums.size() && queries > 0; ++i) {
    mass[i] = sums[i] / static_cast<double>(queries);
  }
  return mass;
}

TrainingStage DistillTraining::summary(std::size_t number) const {
  const StageSettings &own = settings(number), &common = options_.dense;
  return {.name = std::string(kTrainingStages[number]),
          .steps = own.steps,
          .steps_done = shown_[number].step,
          .rate = std::stod(fmt::format("{}", own.rate)),  // 0.002, not 0.00200000009
          .schedule = schedule_name(common.schedule),
          .batch = common.batch,
          .query_interval = common.query_interval,
          .clip = std::stod(fmt::format("{}", common.clip)),
          .training = curve_of(shown_[number].training),
          .validation = curve_of(shown_[number].validation)};
}

}  // namespace indexcache
