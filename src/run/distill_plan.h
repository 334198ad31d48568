// SPDX-License-Identifier: Apache-2.0
// What a training needs and how long it takes, before it begins.
#pragma once

#include "io/json.h"
#include "model/indexer_folder.h"
#include "run/distill_subject.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace indexcache {

struct TrainingPlan {
  std::size_t students = 0;
  std::size_t devices = 1;         // that train
  std::size_t most_students = 0;   // on one of them
  std::int64_t parameters = 0;     // of one student
  std::int64_t student_bytes = 0;  // on the device with most: weights, gradients, moments
  std::int64_t steps = 0;          // of all stages, at most
  double tokens = 0;               // that go through the model in them, validations included
  std::int64_t wave = 0;           // sequences at once
  bool keeps_features = false;     // the frozen model sees the same sequences only once
  std::int64_t device_bytes = 0;   // of the device that holds most, weights and students included
  std::int64_t device_limit = 0;
  double streamed_bytes = 0;  // of weights that come to each device again for each pass
  IndexerFolderBytes folder;  // of the checkpoint that is written
  double seconds = 0;         // estimated
  double uncertainty = 0;     // as in Costs

  bool paged = false;  // the device's memory is paged: more than there is only costs time

  bool fits() const { return paged || device_bytes <= device_limit; }
};

// Only from sizes, for `devices` like `backend`. `placement`: where the weights wait.
TrainingPlan plan_training(const DistillOptions& options, const Model& model,
                           const DistillSubject& subject, const Device& backend,
                           Placement placement, std::size_t devices);

// Throws ResourceError if the training does not fit a device whose memory is not paged.
void require_fit(const TrainingPlan& plan);

std::vector<std::string> plan_lines(const TrainingPlan& plan);
Json to_json(const TrainingPlan& plan);

}  // namespace indexcache
