// SPDX-License-Identifier: Apache-2.0
// The stages of a training on the devices of a session, with saved states and a time limit.
#pragma once

#include "core/progress.h"
#include "distill/dealt_students.h"
#include "distill/training_state.h"
#include "result/distillation.h"
#include "run/distill_subject.h"
#include "run/session.h"
#include "run/training_fit.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace indexcache {

inline constexpr std::array<std::string_view, 2> kTrainingStages = {"dense", "sparse"};

class DistillTraining {
 public:
  // Continues from `state` if that exists, on any number of devices. Throws what
  // read_training_state throws, and ResourceError if not even one sequence fits the devices. The
  // references must outlive the object.
  DistillTraining(const DistillOptions& options, const Model& model, const DistillSubject& subject,
                  Session& session, Progress& progress, Fingerprint fingerprint,
                  std::filesystem::path state);

  // Parameters of students for the first stage, unless a saved state has it already.
  void begin_with(const std::vector<float>& parameters) { students_->set_parameters(parameters); }

  // 1 or 2.
  std::size_t stages() const { return options_.sparse.steps > 0 ? 2 : 1; }
  // Trains a stage to its end, or until the time is over; a stage that is over is left as it is.
  // Afterwards the students have their best parameters. The stages before must be over.
  void train(std::size_t stage);
  // False if the time ended before the training.
  bool in_time() const { return in_time_; }

  const std::vector<Student>& students() const { return subject_.students; }
  // As they are: [students, n].
  std::vector<float> parameters() { return students_->parameters(); }
  // On the device with most students.
  std::int64_t student_bytes() const;
  // Attention mass of what the students select, on the validation sequences; nullopt if no query
  // sees more than index_topk.
  std::vector<std::optional<double>> mass_recall();
  TrainingStage summary(std::size_t stage) const;
  double seconds() const;

 private:
  using Clock = std::chrono::steady_clock;

  const StageSettings& settings(std::size_t stage) const {
    return stage == 0 ? options_.dense : options_.sparse;
  }
  struct Device;

  TrainingSizes sizes() const;
  void make_students();
  std::vector<Device> devices(std::size_t number);
  void step(Stage& stage, std::size_t number);
  void finish(Stage& stage, std::size_t number);
  void loop(Stage& stage, std::size_t number);
  void tell(const StageState& stage, std::size_t number, std::size_t& told);
  void save(std::size_t number, const StageState& stage);

  const DistillOptions& options_;
  const Model& model_;
  const DistillSubject& subject_;
  Session& session_;
  Progress& progress_;
  Fingerprint fingerprint_;
  std::filesystem::path file_;
  TrainingState state_;
  TrainingFit fit_;
  std::optional<DealtStudents> students_;
  std::vector<StageState> shown_;  // with what a stage that is not over would give now
  Clock::time_point begin_ = Clock::now();
  std::optional<Clock::time_point> budget_begin_;  // the first step
  double budget_;
  bool in_time_ = true;
};

}  // namespace indexcache
