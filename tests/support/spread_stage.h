// SPDX-License-Identifier: Apache-2.0
// A stage of training whose students are on several backends of one process.
#pragma once

#include "distill/dealt_students.h"
#include "distill/student_deal.h"
#include "distill/student_weights.h"
#include "distill/training.h"
#include "support/catch.h"
#include "support/files.h"
#include "support/session.h"

#include <deque>
#include <map>
#include <memory>
#include <optional>

namespace indexcache::test {

inline constexpr std::int64_t kStageLength = 48;

inline TokenSet stage_tokens(int first, int count) {
  TokenSet set{.source = "test", .sequences = {}};
  for (int s = first; s < first + count; ++s) {
    std::vector<std::int32_t> ids;
    for (int t = 0; t < kStageLength - s; ++t) {
      ids.push_back((t * t * 7 + t * 37 + s * 11) % 319);
    }
    set.sequences.push_back(ids);
  }
  return set;
}

// Of the tiny model.
template <typename BackendType = CpuBackend>
class SpreadStage {
 public:
  // With a pattern, its students are trained sparsely; else all students of six layers densely.
  // `options_of(device)` is what the backend of a device is made with.
  template <typename OptionsOf>
  SpreadStage(std::size_t devices, const char* sparse, const OptionsOf& options_of)
      : pattern_(Pattern::parse(sparse == nullptr ? "FFFFFF" : sparse)) {
    for (std::size_t d = 0; d < devices; ++d) {
      sessions_.emplace_back(golden("deepseek_v32_tiny"), std::nullopt, Placement::resident,
                             options_of(d));
    }
    const Model& model = sessions_.front().model;
    const std::vector<Student> all =
        sparse == nullptr ? all_students(std::vector<bool>(6, true)) : students_of(pattern_);
    const auto parts = deal_students(model.config, all, devices);
    std::vector<Backend*> backends;
    for (auto& session : sessions_) backends.push_back(&session.backend);
    students.emplace(model, backends, parts);
    if (sparse != nullptr) students->share();
    std::vector<StagePart> stage_parts;
    for (std::size_t p = 0; p < parts.size(); ++p) {
      stage_parts.push_back(make_part(p, sparse == nullptr ? nullptr : &pattern_));
    }
    stage.emplace(settings_, *students, stage_parts, kStageLength, model.config.index_topk,
                  kRangePositions);
  }

  std::optional<DealtStudents> students;
  std::optional<Stage> stage;

 private:
  struct Device {
    std::unique_ptr<FrozenPass> pass;
    std::unique_ptr<StudentWeights> weights;
    std::unique_ptr<Distiller> distiller;
    std::unique_ptr<FeatureSource> training, validation;
  };

  StagePart make_part(std::size_t p, const Pattern* pattern) {
    auto& session = sessions_[p];
    const ModelConfig& config = session.model.config;
    StudentSet& own = students->part(p);
    Device& device = devices_.emplace_back();
    device.pass =
        std::make_unique<FrozenPass>(config, session.backend, kStageLength, own.students(), 64);
    device.distiller = std::make_unique<Distiller>(config, session.backend, *device.pass, own,
                                                   students->students());
    WeightSource* weights = &session.weights;
    if (pattern != nullptr) {
      std::map<std::size_t, IndexerWeights> indexers;
      for (std::size_t i = 0; i < students->size(); ++i) {
        indexers[students->students()[i].layer] = students->weights(p, i);
      }
      device.weights = std::make_unique<StudentWeights>(session.weights, std::move(indexers));
      weights = device.weights.get();
    }
    const FeatureSource::Shape shape{2, 1, false};
    device.training =
        std::make_unique<FeatureSource>(*device.pass, *weights, training_, shape, pattern);
    device.validation =
        std::make_unique<FeatureSource>(*device.pass, *weights, validation_, shape, pattern);
    return {device.distiller.get(), device.training.get(), device.validation.get()};
  }

  const StageSettings settings_{
      .steps = 6, .rate = 3e-3f, .warmup = 2, .batch = 2, .validate_every = 2};
  const TokenSet training_ = stage_tokens(0, 5), validation_ = stage_tokens(5, 2);
  Pattern pattern_;
  std::deque<Session<BackendType>> sessions_;
  std::deque<Device> devices_;
};

template <typename BackendType>
void check_same(SpreadStage<BackendType>& a, SpreadStage<BackendType>& b) {
  CHECK(a.students->parameters() == b.students->parameters());
  const StudentSet::State x = a.students->state(), y = b.students->state();
  CHECK(x.mean == y.mean);
  CHECK(x.variance == y.variance);
  const StageState &one = a.stage->state(), &other = b.stage->state();
  CHECK(one.best == other.best);
  CHECK(one.best_divergence == other.best_divergence);
  CHECK(one.stale == other.stale);
  REQUIRE(one.training.size() == other.training.size());
  for (std::size_t i = 0; i < one.training.size(); ++i) {
    CHECK(one.training[i].values == other.training[i].values);
  }
}

template <typename BackendType>
void steps(SpreadStage<BackendType>& of, int count) {
  for (int i = 0; i < count; ++i) of.stage->step();
}

}  // namespace indexcache::test
