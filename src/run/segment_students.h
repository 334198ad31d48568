// SPDX-License-Identifier: Apache-2.0
// Search over distilled segments: an indexer is trained for every segment that a pattern may have,
// all in one pass over the data, and a segment costs what it costs with its own indexer
// (docs/distillation.md).
#pragma once

#include "core/fingerprint.h"
#include "core/progress.h"
#include "result/distillation.h"
#include "run/distill_subject.h"
#include "run/session.h"
#include "search/segment_indexers.h"
#include "search/strategy.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

namespace indexcache {

// Segments of at least two layers that a pattern of `space` may have and its start has not, in
// ascending order.
std::vector<Student> students_of(const SearchSpace& space);

// The same as a table without weights: for counting what a search with them costs.
std::shared_ptr<const SegmentIndexers> untrained(const std::vector<Student>& students);

// Students of segments after their training.
struct SegmentStudents {
  std::vector<Student> students;
  std::vector<float> parameters;  // [students, n]
  std::shared_ptr<const SegmentIndexers> indexers;
  double seconds = 0;
};

// Trains the students of `subject`, or continues what is in the state file `state`, or reads it.
// Their weights are rounded as the checkpoint would store them.
SegmentStudents train_segments(const DistillOptions& options, const Model& model,
                               const DistillSubject& subject, Session& session, Progress& progress,
                               const std::filesystem::path& state);

// Trains the students of one pattern to the end, judges them, and writes options.output.
Distillation finish_students(const DistillOptions& options, const Model& model,
                             const DistillSubject& subject, const Pattern& pattern,
                             const SegmentStudents& trained, Session& session, Progress& progress);

}  // namespace indexcache
