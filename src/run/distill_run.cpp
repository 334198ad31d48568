// SPDX-License-Identifier: Apache-2.0
#include "run/distill_run.h"

#include "core/created.h"
#include "core/error.h"
#include "core/fingerprint_check.h"
#include "io/files.h"
#include "io/folder_lock.h"
#include "io/json_text.h"
#include "present/page_distillation.h"
#include "run/distill_judge.h"
#include "run/distill_training.h"
#include "run/folder.h"
#include "run/provenance.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <span>
#include <utility>

namespace indexcache {
namespace {

constexpr std::initializer_list<const char*> kDistillFiles = {"distill.json",
                                                              "training.safetensors"};

// What the folder holds if it is this training, finished.
std::optional<Distillation> finished(const DistillFolder& folder, const Fingerprint& fingerprint,
                                     bool always) {
  if (!std::filesystem::exists(folder.document())) return std::nullopt;
  const std::string where = folder.document().string();
  Distillation stored = distillation_from_json(parse_json(read_file(where), where), where);
  // Without its checkpoint it is as good as not there.
  if (!stored.complete) return std::nullopt;
  const bool written = stored.gain || always;
  if (written && !std::filesystem::exists(folder.model())) return std::nullopt;
  check_fingerprint(stored.fingerprint, fingerprint,
                    "the folder contains a training with different settings", where,
                    "the same settings to see it, another --output, or --restart to discard it");
  return stored;
}

void discard(const DistillFolder& folder) {
  std::filesystem::remove_all(folder.model());
  std::filesystem::remove(folder.document());
  std::filesystem::remove(folder.page());
}

Distillation begin_result(const Model& model, const DistillOptions& options,
                          const DistillSubject& subject, const Fingerprint& fingerprint) {
  return {.provenance = {},
          .model = summarize(model),
          .fingerprint = fingerprint,
          .pattern = subject.pattern,
          .teacher = options.own ? "own" : "segment",
          .training = summarize(subject.training),
          .validation = summarize(subject.validation),
          .judge = summarize(subject.judge),
          .judge_is_held_out = subject.held_out,
          .baseline_losses = {},
          .layers = {},
          .stages = {},
          .judged = {},
          .chosen = {},
          .change = {},
          .warnings = subject.warnings};
}

// The indexers of a stage, the losses that they lead to, and those that were best so far.
struct Chosen {
  std::size_t stage = 0;
  std::vector<float> parameters;
  std::vector<std::optional<double>> mass;
};

Chosen train_and_judge(DistillTraining& training, DistillJudge& judge,
                       const std::vector<float>& initial, Distillation& result) {
  judge.judge_checkpoint(result);
  const std::vector<std::optional<double>> before = training.mass_recall();
  if (!initial.empty()) training.begin_with(initial);
  Chosen chosen;
  for (std::size_t s = 0; s < training.stages() && training.in_time(); ++s) {
    training.train(s);
    const std::vector<float> parameters = training.parameters();
    result.stages.push_back(training.summary(s));
    result.stages[s].validation_loss = judge.judge_stage(result.stages[s].name, parameters, result);
    const double best = result.stages[chosen.stage].validation_loss;
    if (s == 0 || result.stages[s].validation_loss < best) {
      chosen = {s, parameters, training.mass_recall()};
    }
  }
  const std::vector<Student>& students = training.students();
  for (std::size_t i = 0; i < students.size(); ++i) {
    result.layers.push_back({students[i].layer, students[i].end, before[i], chosen.mass[i]});
  }
  result.chosen = result.stages[chosen.stage].name;
  return chosen;
}

std::int64_t steps_of(const Distillation& d) {
  std::int64_t steps = 0;
  for (const TrainingStage& stage : d.stages) steps += stage.steps_done;
  return steps;
}

std::string rates_of(const Distillation& d) {
  std::string rates;
  for (const TrainingStage& stage : d.stages) {
    rates += fmt::format("{}{} {}", rates.empty() ? "" : ", ", stage.name, stage.rate);
  }
  return rates;
}

SafetensorsMetadata metadata_of(const Distillation& d) {
  return {{kTrainedByKey, d.provenance.tool_version},
          {kTrainedPatternKey, d.pattern.text()},
          {"teacher", d.teacher},
          {"stage", d.chosen},
          {"base_config_sha256", d.model.config_sha256},
          {"base_weights_layout_sha256", d.model.weights_layout_sha256},
          {"steps", fmt::format("{}", steps_of(d))},
          {"rates", rates_of(d)},
          {"training_tokens_sha256", d.training.sha256}};
}

// What a killed process left of a checkpoint that it was writing.
void remove_unfinished_models(const DistillFolder& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder.folder)) {
    if (entry.path().filename().string().starts_with("model.tmp-")) {
      std::filesystem::remove_all(entry.path());
    }
  }
}

Fingerprint with_initial(Fingerprint fingerprint, const std::vector<float>& initial) {
  if (!initial.empty()) {
    fingerprint.emplace_back("initial indexers sha256", sha256(std::as_bytes(std::span(initial))));
  }
  return fingerprint;
}

}  // namespace

Distillation distill(const DistillOptions& options, const Model& model,
                     const DistillSubject& subject, Session& session,
                     const std::vector<float>& initial, Progress& progress) {
  const Fingerprint fingerprint =
      with_initial(fingerprint_of(options, model, subject, session.kinds()), initial);
  const DistillFolder folder{options.output};
  prepare_folder(folder.folder, kDistillFiles);
  const FolderLock lock(folder.folder);
  remove_leftovers(folder.folder);
  remove_unfinished_models(folder);
  if (options.restart) {
    discard(folder);
    std::filesystem::remove(folder.state());
  }
  if (auto stored = finished(folder, fingerprint, options.always)) {
    std::filesystem::remove(folder.state());  // of one that was killed at its very end
    progress.note("this training is already finished");
    if (!std::filesystem::exists(folder.page())) {
      write_file(folder.page(), distillation_page(*stored));
    }
    return std::move(*stored);
  }
  const SpreadUse before = session.use();
  DistillTraining training(options, model, subject, session, progress, fingerprint, folder.state());
  DistillJudge judge(model, session, subject, training.student_bytes());
  Distillation result = begin_result(model, options, subject, fingerprint);
  warn_of_kinds(session.kinds(), progress, result.warnings);
  const Chosen chosen = train_and_judge(training, judge, initial, result);
  result.complete = training.in_time();
  result.change = change_of(result, result.chosen, subject.judge.predicted());
  result.gain = is_gain(result.change);
  result.provenance = {.tool_version = kToolVersion,
                       .numerics_version = kNumericsVersion,
                       .device = session.kinds(),
                       .created_at = created_time(),
                       .search_seconds = recorded_seconds(training.seconds()),
                       .planned_bytes = std::nullopt,
                       .peak_bytes = std::nullopt};
  if (recorded_seconds(0)) add_devices(result.provenance, session.use().since(before));
  // What was there is of a training that the budget ended, or that was killed while writing.
  discard(folder);
  if (result.gain || options.always) {
    write_indexer_folder(model.checkpoint,
                         stored_indexers(model, subject.students, chosen.parameters),
                         {.metadata = metadata_of(result), .link = options.link}, folder.model());
  }
  write_file(folder.page(), distillation_page(result));
  write_file(folder.document(), json_text(to_json(result), 1) + "\n");
  if (result.complete) std::filesystem::remove(folder.state());
  return result;
}

namespace {

TrainingPlan plan_of(const DistillOptions& options, const Model& model,
                     const DistillSubject& subject, const Device& backend, std::size_t devices) {
  require_writable_indexers(model, subject.students, options.link);
  const WeightSizes sizes =
      weight_sizes(model.config, model.checkpoint, model.has_indexer, backend.weight_types());
  return plan_training(options, model, subject, backend,
                       placement_for(options.device, sizes, backend), devices);
}

}  // namespace

TrainingPlan plan_distillation(const DistillOptions& options, const Model& model,
                               const Pattern& pattern, const Backends& backends,
                               Progress& progress) {
  const Backend& backend = *backends.front();
  return plan_of(options, model, open_distill_subject(options, model, pattern, backend, progress),
                 backend, backends.size());
}

Distillation distill(const DistillOptions& options, const Model& model, const Pattern& pattern,
                     Backends backends, Progress& progress) {
  const Backend& backend = *backends.front();
  require_other_folder(model, options.output);
  check_folder(options.output, kDistillFiles);
  const DistillSubject subject = open_distill_subject(options, model, pattern, backend, progress);
  const TrainingPlan plan = plan_of(options, model, subject, backend, backends.size());
  for (const std::string& line : plan_lines(plan)) progress.note(line);
  require_fit(plan);
  Session session(model, std::move(backends), options.device);
  return distill(options, model, subject, session, {}, progress);
}

}  // namespace indexcache
