// SPDX-License-Identifier: Apache-2.0
// The whole of `distill`: from options to a checkpoint folder with trained indexers.
#pragma once

#include "core/progress.h"
#include "result/distillation.h"
#include "run/distill_subject.h"

#include <filesystem>
#include <memory>

namespace indexcache {

// Where the parts of a distillation are in its folder.
struct DistillFolder {
  std::filesystem::path folder;

  std::filesystem::path model() const { return folder / "model"; }
  std::filesystem::path document() const { return folder / "distill.json"; }
  std::filesystem::path state() const { return folder / "training.safetensors"; }
};

// Trains the indexers of `pattern`'s F layers that feed S layers, judges them on held-out data, and
// writes a checkpoint folder if they gain. Continues a training that is in the folder; one that is
// finished is read. Throws UsageError and InputError for what cannot be trained, before any work;
// ResourceError, ResumeMismatch, Interrupted.
Distillation distill(const DistillOptions& options, const Model& model, const Pattern& pattern,
                     std::unique_ptr<Backend> backend, Progress& progress);

}  // namespace indexcache
