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
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

namespace indexcache {
namespace {

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<TrainingPoint> curve_of(const std::vector<DivergencePoint>& points) {
  std::vector<TrainingPoint> curve;
  for (const DivergencePoint& point : points) curve.push_back({point.step, point.values});
  return curve;
}

}  // namespace

// What one device trains with.
struct DistillTraining::Device {
  std::unique_ptr<FrozenPass> pass;
  std::unique_ptr<StudentWeights> weights;  // of the sparse stage
  std::unique_ptr<Distiller> distiller;
  std::unique_ptr<FeatureSource> training, validation;
};

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
      budget_(parse_duration(options.budget)) {
  const std::size_t devices = session.devices();
  if (auto stored = read_training_state(file_, fingerprint_, subject.students.size(),
                                        indexer_parameters(model.config))) {
    state_ = std::move(*stored);
    fit_ = sizes().fit_wave(state_.wave, devices);
    progress.note(fmt::format("continuing after step {} of the {} stage", state_.stages.back().step,
                              kTrainingStages[state_.stages.size() - 1]));
  } else {
    fit_ = sizes().fit(options.dense.batch, devices);
    state_.wave = fit_.wave;
  }
  make_students();
}

double DistillTraining::seconds() const {
  return state_.seconds + std::chrono::duration<double>(Clock::now() - begin_).count();
}

TrainingSizes DistillTraining::sizes() const {
  return {model_.config, session_.backend(), subject_, stages() > 1,
          session_.training_memory() - session_.weight_bytes()};
}

void DistillTraining::make_students() {
  const TrainingSizes sizes = this->sizes();
  if (session_.backend().is_gpu() && !sizes.has_room(fit_)) {
    throw ResourceError(
        {"the devices have too little memory for the training", "--memory-limit",
         fmt::format("{} indexers on {} device{}, with {} tokens at a time, need {} on each, and "
                     "{} are free",
                     subject_.students.size(), fit_.parts.size(), fit_.parts.size() == 1 ? "" : "s",
                     state_.wave * subject_.longest(), bytes_text(fit_.bytes),
                     bytes_text(std::max<std::int64_t>(sizes.room(), 0))),
         "more GPUs or GPUs with more memory, --precision bf16, or --weights stream"});
  }
  std::vector<Backend*> backends;
  std::string dealt;
  for (std::size_t d = 0; d < fit_.parts.size(); ++d) {
    backends.push_back(&session_.backend(d));
    dealt += fmt::format("{}{} on {}", d == 0 ? "" : ", ", fit_.parts[d].size(), session_.name(d));
    session_.add_students(d, fit_.parts[d].size());
  }
  if (session_.devices() > 1) progress_.note(fmt::format("indexers in training: {}", dealt));
  students_.emplace(model_, backends, fit_.parts);
}

std::int64_t DistillTraining::student_bytes() const {
  std::int64_t most = 0;
  for (const auto& part : fit_.parts) {
    most = std::max(most, StudentSet::bytes(model_.config, session_.backend(), part.size()));
  }
  return most;
}

// Everything but the students, for a stage.
std::vector<DistillTraining::Device> DistillTraining::devices(std::size_t number) {
  const bool sparse = number == 1;
  const Pattern* pattern = sparse ? &subject_.pattern : nullptr;
  const ModelConfig& config = model_.config;
  const std::int64_t longest = subject_.longest();
  const TrainingSizes sizes = this->sizes();
  std::vector<Device> devices;
  for (std::size_t d = 0; d < students_->parts(); ++d) {
    Backend& backend = session_.backend(d);
    StudentSet& own = students_->part(d);
    Device device;
    device.pass = std::make_unique<FrozenPass>(
        config, backend, longest, own.students(),
        training_chunk_rows(backend, config, subject_.students, state_.wave, longest));
    device.distiller =
        std::make_unique<Distiller>(config, backend, *device.pass, own, subject_.students);
    WeightSource* weights = &session_.weights(d);
    if (sparse) {
      std::map<std::size_t, IndexerWeights> indexers;
      for (std::size_t i = 0; i < students_->size(); ++i) {
        indexers[subject_.students[i].layer] = students_->weights(d, i);
      }
      device.weights = std::make_unique<StudentWeights>(*weights, std::move(indexers));
      weights = device.weights.get();
    }
    // With a pattern the students decide what is seen.
    const FeatureSource::Shape shape{options_.dense.batch, state_.wave,
                                     !sparse && sizes.keeps_features(own.students(), state_.wave)};
    const auto source = [&](const TokenSet& tokens) {
      return std::make_unique<FeatureSource>(*device.pass, *weights, tokens, shape, pattern);
    };
    device.training = source(subject_.training);
    device.validation = source(subject_.validation);
    devices.push_back(std::move(device));
  }
  return devices;
}

void DistillTraining::train(std::size_t number) {
  const bool begun = state_.stages.size() > number;
  if (begun && state_.stages[number].over) {
    shown_.push_back(state_.stages[number]);
    return students_->set_parameters(state_.stages[number].best);
  }
  if (number == 1) students_->share();
  const std::vector<Device> devices = this->devices(number);
  std::vector<StagePart> parts;
  for (const Device& device : devices) {
    parts.push_back({device.distiller.get(), device.training.get(), device.validation.get()});
  }
  const std::int64_t longest = subject_.longest();
  Stage stage(settings(number), *students_, std::move(parts), longest,
              model_.config.first_selecting_position(),
              positions_at_once(session_.backend(), model_.config, subject_.students, state_.wave,
                                longest));
  if (begun) {
    stage.state() = state_.stages[number];
    students_->restore(state_.students);
  } else {
    students_->clear_moments();
    state_.stages.push_back(stage.state());
  }
  const std::vector<double> busy_before = students_->busy_seconds();
  const auto begin = Clock::now();
  loop(stage, number);
  session_.add_training(busy_before, students_->busy_seconds(),
                        std::chrono::duration<double>(Clock::now() - begin).count());
  students_->keep_apart();
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

// What a signal ends was not begun either.
void DistillTraining::finish(Stage& stage, std::size_t number) {
  try {
    stage.finish();
  } catch (const Interrupted&) {
    if (in_time_) save(number, stage.state());
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
  // A stage that the budget ends is saved as it is, so that the same command continues it.
  if (!in_time_) save(number, stage.state());
  finish(stage, number);
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
  // Of a stage that is over, only the best parameters are stored.
  state_.students = stage.over ? StudentSet::State{} : students_->state();
  TrainingState stored = state_;
  stored.seconds = recorded_seconds(seconds()).value_or(0);
  write_training_state(file_, stored, fingerprint_);
}

std::vector<std::optional<double>> DistillTraining::mass_recall() {
  const std::vector<Device> devices = this->devices(0);
  const auto ranges =
      position_ranges(subject_.longest(), model_.config.first_selecting_position(),
                      positions_at_once(session_.backend(), model_.config, subject_.students,
                                        state_.wave, subject_.longest()));
  std::vector<Distiller::MassRecall> of_parts(devices.size());
  students_->for_each_part([&](std::size_t p) {
    Distiller::MassRecall& all = of_parts[p];
    all.sums.assign(students_->part(p).size(), 0.0);
    FeatureSource& source = *devices[p].validation;
    for (std::int64_t b = 0; b < source.batches(); ++b) {
      for (std::int64_t w = 0; w < source.waves(b); ++w) {
        const auto recall = devices[p].distiller->mass_recall(source.wave(b, w), ranges);
        for (std::size_t i = 0; i < all.sums.size(); ++i) all.sums[i] += recall.sums[i];
        all.queries += recall.queries;
      }
    }
  });
  std::vector<std::optional<double>> mass;
  for (const Distiller::MassRecall& all : of_parts) {
    for (const double sum : all.sums) {
      mass.push_back(all.queries > 0 ? std::optional(sum / static_cast<double>(all.queries))
                                     : std::nullopt);
    }
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
