// SPDX-License-Identifier: Apache-2.0
// The whole of `distill`: from options to a checkpoint folder with trained indexers.
#pragma once

#include "core/progress.h"
#include "result/distillation.h"
#include "run/distill_plan.h"
#include "run/distill_subject.h"

#include <filesystem>
#include <vector>

namespace indexcache {

// Where the parts of a distillation are in its folder.
struct DistillFolder {
  std::filesystem::path folder;

  std::filesystem::path model() const { return folder / "model"; }
  std::filesystem::path document() const { return folder / kDistillationFile; }
  std::filesystem::path page() const { return folder / "report.html"; }
  std::filesystem::path state() const { return folder / "training.safetensors"; }
};

// Trains the indexers of the subject's pattern on all devices of an open session, judges them on
// held-out data, and writes a checkpoint folder into options.output if they gain. `initial`:
// parameters of students to begin with instead of the checkpoint's, if not empty. Continues a
// training that is in the folder; one that is finished is read. Throws InputError, ResourceError,
// ResumeMismatch, Interrupted.
Distillation distill(const DistillOptions& options, const Model& model,
                     const DistillSubject& subject, Session& session,
                     const std::vector<float>& initial, Progress& progress);

// What distill() below would need. Throws what it would throw before any work.
TrainingPlan plan_distillation(const DistillOptions& options, const Model& model,
                               const Pattern& pattern, const Backends& backends,
                               Progress& progress);

// The whole command, on all backends. Throws also UsageError and InputError for what cannot be
// trained, before any work.
Distillation distill(const DistillOptions& options, const Model& model, const Pattern& pattern,
                     Backends backends, Progress& progress);

}  // namespace indexcache
