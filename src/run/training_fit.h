// SPDX-License-Identifier: Apache-2.0
// How a training is cut to fit its devices, from sizes only.
#pragma once

#include "run/distill_subject.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace indexcache {

struct TrainingFit {
  // Students of each device that trains; devices for which none are left do not.
  std::vector<std::vector<Student>> parts;
  std::int64_t wave;  // sequences at once: a power of two, so that small differences in free memory
                      // do not matter, since the number decides the order of sums
  bool keeps;         // features of the dense stage stay in memory on every device: sequences that
                      // come again do not go through the model again
  std::int64_t bytes;  // of the device that holds most, its students included, without weights
};

// Sizes of one training on devices of a kind. The references must outlive the object.
class TrainingSizes {
 public:
  // `room`: bytes of a device besides weights. `sparse`: there will be a sparse stage.
  TrainingSizes(const ModelConfig& config, const Device& backend, const DistillSubject& subject,
                bool sparse, std::int64_t room)
      : config_(config), backend_(backend), subject_(subject), sparse_(sparse), room_(room) {}

  // The number of sequences at once does not depend on the number of devices, because it decides
  // the bits of a training: it is what the smallest number that can hold all students can take, or
  // one if `devices` cannot.
  TrainingFit fit(std::int64_t batch, std::size_t devices) const;
  // With the number of sequences that a training began with.
  TrainingFit fit_wave(std::int64_t wave, std::size_t devices) const;

  // Whether the features of all sequences have room, with as much left for other things.
  bool keeps_features(const std::vector<Student>& part, std::int64_t wave) const;

  bool has_room(const TrainingFit& fit) const { return fit.bytes <= room_; }
  std::int64_t room() const { return room_; }

 private:
  std::int64_t student_bytes(const std::vector<Student>& part) const;
  std::int64_t working_bytes(const std::vector<Student>& part, std::int64_t wave) const;
  std::int64_t feature_bytes(const std::vector<Student>& part) const;
  std::int64_t most_bytes(const std::vector<std::vector<Student>>& parts, std::int64_t wave) const;

  const ModelConfig& config_;
  const Device& backend_;
  const DistillSubject& subject_;
  bool sparse_;
  std::int64_t room_;
};

// Rows that pass through a layer of the frozen model together.
std::int64_t training_chunk_rows(const Device& backend, const ModelConfig& config,
                                 const std::vector<Student>& students, std::int64_t wave,
                                 std::int64_t longest);

}  // namespace indexcache
