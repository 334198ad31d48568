// SPDX-License-Identifier: Apache-2.0
// One stage of training: batches, rates, validation, and the best parameters of every student.
//
// Nothing here depends on time, so a training that continues from a saved state ends in the same
// bits. Students are independent: each keeps the parameters with which its own validation
// divergence was lowest.
#pragma once

#include "backend/backend.h"
#include "calibration/token_set.h"
#include "distill/dealt_students.h"
#include "distill/distiller.h"
#include "distill/frozen_pass.h"
#include "distill/students.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

enum class Schedule { cosine, constant };

struct StageSettings {
  std::int64_t steps;
  float rate;  // the highest
  Schedule schedule = Schedule::cosine;
  std::int64_t warmup = 20;         // steps until the highest rate, at most a fifth of all
  float clip = 1.0f;                // of the norm of a student's gradient; 0: none
  std::int64_t batch = 8;           // sequences per step
  std::int64_t query_interval = 1;  // a step trains on one of so many ranges of positions
  std::int64_t validate_every = 25;
  std::int64_t patience = 4;  // validations without progress of any student; 0: never stops early
};

// The rate of step 0, 1, …: linear up, then constant; for `cosine` the last two fifths of the steps
// follow a cosine down to a twentieth.
float rate_at(const StageSettings& settings, std::int64_t step);

// Positions of a range: the unit in which a step chooses queries (query_interval).
inline constexpr std::int64_t kRangePositions = 256;

// Positions of `wave` sequences that are computed at once, whole ranges: on a GPU as many as keep
// it busy. Small models need many rows for that, large ones do not; and the matrices of [rows,
// `longest`] that are held at once (Distiller::matrices) stay within 4 GiB if one range does. Does
// not depend on free memory, because the number decides the order of sums.
std::int64_t positions_at_once(const Device& backend, const ModelConfig& config,
                               const std::vector<Student>& students, std::int64_t wave,
                               std::int64_t longest);

// Mean KL divergence per query, in nats, of every student.
struct DivergencePoint {
  std::int64_t step;  // steps that were done before
  std::vector<double> values;
};

// Everything that a stage has done, apart from what is on the device.
struct StageState {
  std::int64_t step = 0;                  // steps done
  std::vector<DivergencePoint> training;  // of the batch of a step, before its update
  std::vector<DivergencePoint> validation;
  std::vector<float> best;              // parameters, [students, n]
  std::vector<double> best_divergence;  // [students]
  std::int64_t stale = 0;               // validations since any student improved
  bool over = false;                    // the best parameters are final
};

// Who computes what the students see. The sequences of a batch are the same in every epoch; they
// are taken through the model in waves, as memory allows.
class FeatureSource {
 public:
  struct Shape {
    std::int64_t batch;  // sequences per batch, at most
    std::int64_t wave;   // sequences at once, at most
    bool keep = false;   // keeps the features of all waves: they must not depend on students
  };

  // `pattern` null: dense attention.
  FeatureSource(FrozenPass& pass, WeightSource& weights, const TokenSet& tokens, const Shape& shape,
                const Pattern* pattern);

  std::int64_t batches() const { return static_cast<std::int64_t>(firsts_.size()) - 1; }
  // Of batch `index` modulo their number.
  std::int64_t waves(std::int64_t index) const;
  const Features& wave(std::int64_t index, std::int64_t number);
  // Queries of these ranges in the whole batch.
  std::int64_t queries(std::int64_t index, const std::vector<PositionRange>& ranges) const;

 private:
  using Sequences = std::span<const std::vector<std::int32_t>>;
  Sequences batch(std::int64_t index) const;

  FrozenPass& pass_;
  WeightSource& weights_;
  const TokenSet& tokens_;
  Shape shape_;
  const Pattern* pattern_;
  std::vector<std::size_t> firsts_;  // sequences of batch b: [firsts_[b], firsts_[b + 1])
  std::map<std::pair<std::int64_t, std::int64_t>, Features> kept_;
  Features current_;
};

// What a device needs to train its part of the students, and what they see.
struct StagePart {
  Distiller* distiller;
  FeatureSource *training, *validation;
};

class Stage {
 public:
  // Sequences have up to `longest` tokens; no range crosses position `split`; adjacent ranges are
  // computed together up to `at_once` positions. `parts` are those of `students`. What is passed
  // must outlive the object.
  Stage(const StageSettings& settings, DealtStudents& students, std::vector<StagePart> parts,
        std::int64_t longest, std::int64_t split, std::int64_t at_once);

  StageState& state() { return state_; }
  bool finished() const;

  // One step, with the validation that is due before it. Throws InputError and leaves the
  // parameters as they were if a gradient is not finite or a divergence has grown beyond
  // kDivergedFactor times its first value.
  void step();
  // The last validation, after which the students have their best parameters.
  void finish();

  const StageSettings& settings() const { return settings_; }

 private:
  void validate();
  // Sums of divergences over a batch of `source`; from training sequences, gradients of their mean,
  // too.
  using Source = FeatureSource* StagePart::*;
  std::vector<double> divergences(Source source, std::int64_t batch,
                                  const std::vector<PositionRange>& ranges);
  std::vector<PositionRange> ranges_of_step(std::int64_t step) const;
  std::vector<float> clipped() const;
  void check(const std::vector<double>& means) const;

  const StageSettings& settings_;
  DealtStudents& students_;
  std::vector<StagePart> parts_;
  const FeatureSource& training_;  // of the first part: all have the same sequences
  const FeatureSource& validation_;
  std::vector<PositionRange> ranges_;
  std::int64_t split_, at_once_;
  StageState state_;
};

// Validation divergences that a student may have, as a multiple of the first.
inline constexpr double kDivergedFactor = 3.0;

}  // namespace indexcache
