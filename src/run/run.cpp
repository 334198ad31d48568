// SPDX-License-Identifier: Apache-2.0
#include "run/run.h"

#include "core/bytes.h"
#include "core/created.h"
#include "core/error.h"
#include "run/folder.h"
#include "run/plan.h"
#include "run/provenance.h"
#include "run/search_run.h"
#include "run/segment_students.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <utility>

namespace indexcache {
namespace {

Provenance provenance_of(Session& session, const Instruments& instruments, const Journal& journal) {
  Provenance provenance{.tool_version = kToolVersion,
                        .numerics_version = kNumericsVersion,
                        .device = session.backend().name(),
                        .created_at = created_time(),
                        .search_seconds = recorded_seconds(journal.seconds()),
                        .planned_bytes = std::nullopt,
                        .peak_bytes = std::nullopt};
  // A continued run holds less at once than an uninterrupted one.
  if (recorded_seconds(0)) {
    provenance.planned_bytes = session.weight_bytes() + instruments.workload().most_bytes_total();
    provenance.peak_bytes = session.backend().memory_use().peak_total;
  }
  return provenance;
}

// Takes everything out of `outcome` but its overlap.
Result assemble(const Model& model, const SearchSubject& subject, const Fingerprint& fingerprint,
                SearchOutcome& outcome, Provenance provenance) {
  const CalibrationData& data = subject.data;
  Result result{.provenance = std::move(provenance),
                .model = summarize(model),
                .calibration = summarize(data.search),
                .holdout = std::nullopt,
                .constraints = subject.space.constraints,
                .fingerprint = fingerprint,
                .baseline = subject.space.start,
                .baseline_loss = outcome.baseline_loss,
                .baseline_losses = std::move(outcome.baseline_losses),
                .search_start = outcome.search_start,
                .searches = std::move(outcome.searches),
                .settings = subject.settings(),
                .targets = std::move(outcome.targets),
                .overlap = summarize(outcome.overlap),
                .warnings = subject.warnings,
                .complete = outcome.complete};
  result.calibration.prepared = data.prepared;
  if (data.holdout) {
    result.holdout = Holdout{summarize(*data.holdout), outcome.holdout_baseline_loss,
                             std::move(outcome.holdout_baseline_losses)};
  }
  for (Target& target : result.targets) {
    target.donors = donor_overlaps(target.calibration.pattern, outcome.overlap);
  }
  for (std::string& warning : outcome.warnings) result.warnings.push_back(std::move(warning));
  return result;
}

// Trains the indexers of every target's pattern to the end and writes its checkpoint.
void finish_targets(const SegmentTraining& training, const Model& model,
                    const SegmentStudents& students, Session& session,
                    const std::filesystem::path& folder, Progress& progress, Result& result) {
  for (Target& target : result.targets) {
    const Pattern& pattern = target.calibration.pattern;
    if (pattern == result.baseline) continue;
    DistillOptions options = training.finishing;
    const std::string name = distilled_folder_name(pattern.full_count());
    options.output = (folder / name).string();
    const Distillation distilled =
        finish_students(options, model, training.subject, pattern, students, session, progress);
    if (!distilled.gain) {
      warn(progress, result.warnings,
           fmt::format("trained indexers gain nothing for {}: it is as good with the released ones",
                       pattern.text()));
      continue;
    }
    const auto rise = [&](const std::string& indexers) {
      const PairedDifference& delta = distilled.find("pattern", indexers)->measured.delta;
      return PairedDifference{delta.mean, delta.ci95, {}};
    };
    target.distilled = DistilledTarget{.folder = name + "/model",
                                       .training = distilled.training,
                                       .steps = training.options.dense.steps,
                                       .held_out = distilled.judge_is_held_out,
                                       .without = rise("checkpoint"),
                                       .with = rise(distilled.chosen)};
  }
}

}  // namespace

double parse_duration(const std::string& text, const std::string& option) {
  double seconds = 0;
  const char* at = text.c_str();
  while (*at != '\0') {
    char* end = nullptr;
    const double number =
        std::isdigit(static_cast<unsigned char>(*at)) ? std::strtod(at, &end) : -1;
    const double unit = number < 0    ? 0
                        : *end == 'h' ? 3600
                        : *end == 'm' ? 60
                        : *end == 's' ? 1
                                      : 0;
    if (unit == 0 || !std::isfinite(number)) seconds = -1;
    if (seconds < 0) break;
    seconds += number * unit;
    at = end + 1;
  }
  if (text.empty() || seconds > 0) return seconds;
  throw UsageError({fmt::format("invalid duration for {}: \"{}\"", option, text), option, "",
                    "hours, minutes, seconds: 4h, 1h30m or 45s"});
}

Result run(const RunOptions& options, Progress& progress) {
  const double budget_seconds = parse_duration(options.budget);
  DeviceOptions device = options.search.device;
  std::unique_ptr<Backend> backend = make_backend(device);
  const Model model = open_model(device.model, device.mla_norm_eps);
  SearchSubject subject = open_subject(options.search, model, *backend, progress);
  const Fingerprint fingerprint = fingerprint_of(model, subject, backend->name());
  const RunPlan plan = make_plan(model, subject, *backend, device);
  check_fits(plan, subject);

  const std::filesystem::path folder = options.output;
  prepare_folder(folder, {"journal.jsonl"});
  Journal journal(folder / "journal.jsonl", fingerprint, options.restart);
  remove_leftovers(folder);
  if (options.restart) discard_outputs(folder, model.has_indexer.size());
  if (journal.dropped_torn_line()) {
    progress.note(
        "the last line of the journal was incomplete and was dropped; its wave is evaluated again");
  }
  if (auto result = finished_run(folder, fingerprint, subject)) {
    progress.note("this run is already finished");
    complete_report(folder);
    return std::move(*result);
  }
  for (const std::string& line : plan_lines(plan)) progress.note(line);
  device.weights = name_of(plan.placement);
  Session session(model, std::move(backend), device);
  std::optional<SegmentStudents> students;
  if (subject.training) {
    students = train_segments(subject.training->options, model, subject.training->subject, session,
                              progress, folder / kStudentsFile);
    subject.indexers = students->indexers;
  }
  DeviceInstruments instruments(session, subject, journal, progress, budget_seconds);
  ExpectedWork expected{.evaluations = plan.work.evaluations(Phase::search)};
  // A search for the size comes first, and then the paths are others.
  if (!subject.max_rise) {
    for (const StrategyPlan& strategy : plan.strategies) expected.steps.push_back(strategy.steps);
  }
  SearchOutcome outcome = search_run(subject, instruments, progress, expected);
  Result result =
      assemble(model, subject, fingerprint, outcome, provenance_of(session, instruments, journal));
  if (students)
    finish_targets(*subject.training, model, *students, session, folder, progress, result);
  if (plan.training && result.provenance.planned_bytes) {
    result.provenance.planned_bytes =
        std::max(*result.provenance.planned_bytes, plan.training->device_bytes);
  }
  const Provenance& memory = result.provenance;
  if (memory.planned_bytes) {
    progress.note(fmt::format("memory: {} planned, {} at the peak",
                              bytes_text(*memory.planned_bytes), bytes_text(*memory.peak_bytes)));
  }
  write_outputs(folder, result, outcome.overlap);
  if (result.complete) std::filesystem::remove(folder / kStudentsFile);
  return result;
}

}  // namespace indexcache
