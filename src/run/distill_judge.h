// SPDX-License-Identifier: Apache-2.0
// What trained indexers are worth: losses on sequences that the training did not see.
#pragma once

#include "distill/students.h"
#include "result/distillation.h"
#include "run/distill_subject.h"
#include "run/session.h"

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace indexcache {

// Indexers as a checkpoint of the source's types stores them, by layer: what is judged is what is
// written. `parameters` are those of StudentSet.
std::vector<StoredIndexer> stored_indexers(const Model& model, const std::vector<Student>& students,
                                           const std::vector<float>& parameters);

class DistillJudge {
 public:
  // Computes on all devices of the session. The references must outlive the object. `taken_bytes`
  // of each device are used by others.
  DistillJudge(const Model& model, Session& session, const DistillSubject& subject,
               std::int64_t taken_bytes);

  // The checkpoint's indexers: fills the baseline, and judges the pattern and a uniform one.
  void judge_checkpoint(Distillation& result);
  // Indexers after a stage: judges the pattern, and all-Full with them. Returns the pattern's loss
  // on the validation sequences.
  double judge_stage(const std::string& stage, const std::vector<float>& parameters,
                     Distillation& result);

 private:
  void judge(const std::string& indexers,
             const std::vector<std::pair<std::string, Pattern>>& patterns,
             std::span<const TrainedIndexer> trained, Distillation& result);
  double validation_loss(std::span<const TrainedIndexer> trained);

  const Model& model_;
  Session& session_;
  const DistillSubject& subject_;
  std::int64_t taken_bytes_;
};

// The change that `stage` makes of the pattern's loss, against the checkpoint's indexers; weighted
// by the predicted tokens of the judge's sequences.
PairedDifference change_of(const Distillation& result, const std::string& stage,
                           const std::vector<double>& weights);

// Whether a loss falls, as far as its interval tells.
bool is_gain(const PairedDifference& change);

}  // namespace indexcache
