// SPDX-License-Identifier: Apache-2.0
#include "run/run.h"

#include "core/bytes.h"
#include "core/created.h"
#include "core/error.h"
#include "present/target_text.h"
#include "run/folder.h"
#include "run/plan.h"
#include "run/provenance.h"
#include "run/rank_service.h"
#include "run/search_run.h"
#include "run/segment_students.h"
#include "search/costs.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <utility>

namespace indexcache {
namespace {

constexpr std::initializer_list<const char*> kRunFiles = {"journal.jsonl"};

Provenance provenance_of(Session& session, const Instruments& instruments, const Journal& journal) {
  Provenance provenance{.tool_version = kToolVersion,
                        .numerics_version = kNumericsVersion,
                        .device = session.kinds(),
                        .created_at = created_time(),
                        .search_seconds = recorded_seconds(journal.seconds()),
                        .planned_bytes = std::nullopt,
                        .peak_bytes = std::nullopt};
  // A continued run holds less at once than an uninterrupted one.
  if (recorded_seconds(0)) {
    provenance.planned_bytes = session.weight_bytes() + instruments.workload().most_bytes_total();
    provenance.peak_bytes = session.peak_bytes();
    add_devices(provenance, session.use());
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
                .indexer_share = IndexerShare{data.search.longest(),
                                              indexer_share(model.config, model.has_indexer,
                                                            data.search.longest())},
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

PairedDifference rise_of(const Measured& measured) {
  return {measured.delta.mean, measured.delta.ci95, {}};
}

// Trains the indexers of every target's pattern to the end and writes its checkpoint.
void finish_targets(const SegmentTraining& training, const Model& model,
                    const SegmentStudents& students, Session& session,
                    const std::filesystem::path& folder, Progress& progress, Result& result) {
  for (Target& target : result.targets) {
    const Pattern& pattern = target.calibration.pattern;
    if (pattern == result.baseline) continue;
    const std::string name = distilled_folder_name(pattern.full_count());
    target.distilled = DistilledTarget{.folder = name + "/model",
                                       .training = summarize(training.subject.training),
                                       .steps = training.options.dense.steps,
                                       .held_out = training.subject.held_out,
                                       .without = std::nullopt,
                                       .with = rise_of(shown_measure(target))};
    if (!result.complete) continue;  // the pattern may still change
    DistillOptions options = training.finishing;
    options.output = (folder / name).string();
    const Distillation distilled =
        finish_students(options, model, training.subject, pattern, students, session, progress);
    if (!distilled.gain) {
      warn(progress, result.warnings,
           fmt::format("trained indexers are not shown to be better than the released ones for {}",
                       pattern.text()));
    }
    target.distilled->without = rise_of(distilled.find("pattern", "checkpoint")->measured);
    target.distilled->with = rise_of(distilled.find("pattern", distilled.chosen)->measured);
  }
  if (result.complete) return;
  warn(progress, result.warnings,
       "the patterns need trained indexers, which are written when the search is complete");
}

void note_use(const Provenance& use, Progress& progress) {
  if (use.planned_bytes) {
    progress.note(fmt::format("memory: {} planned, {} at the peak", bytes_text(*use.planned_bytes),
                              bytes_text(*use.peak_bytes)));
  }
  if (use.devices.empty()) return;
  progress.note(fmt::format("devices: {} computed, idle {:.0f}% of the time", use.devices.size(),
                            100 * use.idle_share));
}

ExpectedWork expected_work(const RunPlan& plan, const SearchSubject& subject) {
  ExpectedWork expected{.evaluations = plan.work.evaluations(Phase::search)};
  // A search for the size comes first, and then the paths are others.
  if (subject.max_rise) return expected;
  for (const StrategyPlan& strategy : plan.strategies) expected.steps.push_back(strategy.steps);
  return expected;
}

// Trains the indexers that the search is to use; what it takes is taken from the budget.
SegmentStudents train_in_budget(const RunOptions& options, const Model& model, Session& session,
                                const std::filesystem::path& folder, Progress& progress,
                                SearchSubject& subject, double& budget_seconds) {
  subject.training->options.budget = options.budget;
  const auto begin = std::chrono::steady_clock::now();
  SegmentStudents students =
      train_segments(subject.training->options, model, subject.training->subject, session, progress,
                     folder / kStudentsFile);
  subject.indexers = students.indexers;
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  if (budget_seconds > 0) budget_seconds = std::max(budget_seconds - taken.count(), 1e-3);
  return students;
}

// Before documents are read, which can take long.
void check_output(const RunOptions& options, const Model& model) {
  if (!options.search.distill.empty()) require_other_folder(model, options.output);
  check_folder(options.output, kRunFiles);
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

Result run(const RunOptions& options, Progress& progress, Ranks& ranks) {
  double budget_seconds = parse_duration(options.budget);
  DeviceOptions device = options.search.device;
  Backends backends = make_backends(device);
  const Backend& backend = *backends.front();
  const Model model = open_model(device);
  const std::filesystem::path folder = options.output;
  check_output(options, model);
  SearchSubject subject = open_subject(options.search, model, backend, progress);
  const RunPlan plan = make_plan(model, subject, backend, device, backends.size());
  check_fits(plan, subject);
  if (subject.training) require_one_process(ranks, "--distill");

  const std::string own_kinds = kinds_of(backends);
  ranks.admit(rank_fingerprint(fingerprint_of(model, subject, own_kinds)),
              std::string(name_of(plan.placement)), device.mixed);
  std::vector<std::string> kinds = ranks.kinds();
  kinds.push_back(own_kinds);
  const Fingerprint fingerprint = fingerprint_of(model, subject, kinds_of(kinds));
  prepare_folder(folder, kRunFiles);
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
  Session session(model, std::move(backends), device);
  session.add(ranks);
  warn_of_kinds(session.kinds(), progress, subject.warnings);
  std::optional<SegmentStudents> students;
  if (subject.training) {
    students = train_in_budget(options, model, session, folder, progress, subject, budget_seconds);
  }
  std::optional<DeviceInstruments> instruments;
  instruments.emplace(session, subject, journal, progress, budget_seconds);
  SearchOutcome outcome = search_run(subject, *instruments, progress, expected_work(plan, subject));
  Result result =
      assemble(model, subject, fingerprint, outcome, provenance_of(session, *instruments, journal));
  if (students) {
    instruments.reset();  // with the indexers of all segments, whose memory the training needs
    subject.indexers.reset();
    students->indexers.reset();
    finish_targets(*subject.training, model, *students, session, folder, progress, result);
  }
  if (plan.training && result.provenance.planned_bytes) {
    result.provenance.planned_bytes =
        std::max(*result.provenance.planned_bytes, plan.training->device_bytes);
  }
  note_use(result.provenance, progress);
  write_outputs(folder, result, outcome.overlap);
  return result;
}

}  // namespace indexcache
