// SPDX-License-Identifier: Apache-2.0
#include "run/segment_students.h"

#include "core/error.h"
#include "distill/student_weights.h"
#include "run/distill_judge.h"
#include "run/distill_run.h"
#include "run/distill_training.h"
#include "search/segment_paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace indexcache {
std::vector<Student> students_of(const SearchSpace& space) {
  const SegmentTable table(space.start);
  std::vector<Student> students;
  for (std::size_t first = 0; first < space.start.layers(); ++first) {
    if (space.constraints.pinned_shared[first]) continue;
    const std::vector<std::size_t> ends = table.ends(first);
    for (std::size_t i = 1; i < ends.size(); ++i) {  // the first end is the start's own
      if (may_be_shared(space.constraints, {first, ends[i]})) students.push_back({first, ends[i]});
    }
  }
  return students;
}

std::shared_ptr<const SegmentIndexers> untrained(const std::vector<Student>& students) {
  std::map<PatternSegment, IndexerWeights> indexers;
  for (const Student& student : students) indexers[{student.layer, student.end}] = {};
  return std::make_shared<SegmentIndexers>(std::move(indexers));
}

SegmentStudents train_segments(const DistillOptions& options, const Model& model,
                               const DistillSubject& subject, Session& session, Progress& progress,
                               const std::filesystem::path& state) {
  Backend& backend = session.backend();
  SegmentStudents trained;
  trained.students = subject.students;
  {
    DistillTraining training(options, model, subject, session, progress,
                             fingerprint_of(options, model, subject, session.kinds()), state);
    training.train(0);
    if (!training.in_time()) {
      throw ResourceError({"the time is over before the indexers of all segments are trained",
                           "--budget",
                           fmt::format("{} of {} steps are done, and nothing is searched yet",
                                       training.summary(0).steps_done, options.dense.steps),
                           "the same command, which continues the training"});
    }
    trained.parameters = training.parameters();
    trained.seconds = training.seconds();
  }
  progress.note(fmt::format("{} segments have an indexer of their own, trained in {:.1f} s",
                            trained.students.size(), trained.seconds));
  const auto stored = stored_indexers(model, trained.students, trained.parameters);
  std::map<PatternSegment, IndexerWeights> indexers;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    indexers[{trained.students[i].layer, trained.students[i].end}] =
        upload_indexer(backend, model.config, stored[i].dequantized);
  }
  trained.indexers = std::make_shared<SegmentIndexers>(std::move(indexers));
  return trained;
}

Distillation finish_students(const DistillOptions& options, const Model& model,
                             const DistillSubject& subject, const Pattern& pattern,
                             const SegmentStudents& trained, Session& session, Progress& progress) {
  DistillSubject own = subject;
  own.pattern = pattern;
  // Segments that the search began with keep the checkpoint's indexer.
  own.students.clear();
  const std::vector<Student> of_start = students_of(subject.pattern);
  for (const Student& student : students_of(pattern)) {
    if (std::ranges::count(of_start, student) == 0) own.students.push_back(student);
  }
  std::vector<float> initial;
  const auto columns = static_cast<std::ptrdiff_t>(indexer_parameters(model.config));
  for (const Student& student : own.students) {
    const auto found = std::ranges::find(trained.students, student);
    if (found == trained.students.end()) {
      throw InternalError({"a segment has no trained indexer", pattern.text(), "", ""});
    }
    const auto row = trained.parameters.begin() + (found - trained.students.begin()) * columns;
    initial.insert(initial.end(), row, row + columns);
  }
  try {
    return distill(options, model, own, session, initial, progress);
  } catch (const ResumeMismatch&) {
    // The folder belongs to the run: what it has is of an earlier pattern of this size.
    DistillOptions again = options;
    again.restart = true;
    return distill(again, model, own, session, initial, progress);
  }
}

}  // namespace indexcache
