// SPDX-License-Identifier: Apache-2.0
#include "run/distill_subject.h"

#include "core/error.h"
#include "run/run.h"
#include "version.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace indexcache {
namespace {

void require_setting(bool holds, const std::string& value, const std::string& option,
                     const char* remedy) {
  if (holds) return;
  throw UsageError({fmt::format("invalid value for {}: {}", option, value), option, "", remedy});
}

void check_stage(const StageSettings& stage, const std::string& steps, const std::string& rate,
                 std::int64_t fewest) {
  require_setting(stage.steps >= fewest && stage.steps <= 1'000'000, fmt::format("{}", stage.steps),
                  steps, "a number of steps such as 300");
  require_setting(std::isfinite(stage.rate) && stage.rate > 0 && stage.rate <= 0.1f,
                  fmt::format("{}", stage.rate), rate,
                  "a rate above 0 and at most 0.1, such as 1e-3");
}

std::vector<Student> make_students(const Pattern& pattern, const Model& model, bool own) {
  check_fits(pattern, model.has_indexer, "--pattern");
  std::vector<Student> students = students_of(pattern);
  if (students.empty()) {
    throw UsageError({"there is nothing to distill", "--pattern",
                      "the pattern has no S layer, so no indexer would serve another layer",
                      "a pattern with S layers, such as uniform:4 or a pattern file"});
  }
  if (own) {
    for (Student& student : students) student.end = student.layer + 1;
  }
  return students;
}

void check_count(const CalibrationData& data) {
  if (data.search.sequences.size() >= 2) return;
  const bool held_out = data.holdout.has_value();
  throw InputError({"one sequence cannot be split into training and validation data",
                    data.search.source, held_out ? "held-out sequences only judge the result" : "",
                    held_out
                        ? "more sequences, or --holdout 0, with which those of the validation judge"
                        : "more sequences"});
}

}  // namespace

void require_trainable(const ModelConfig& config, const char* what) {
  if (!config.compressed) return;
  throw UsageError({fmt::format("indexers of {} cannot be trained", config.family->title), what,
                    "training is implemented for indexers that choose single tokens; this model's "
                    "choose entries, each of which represents several",
                    "a pattern that needs no training: run without --distill"});
}

void check_settings(const DistillOptions& options, const std::string& prefix) {
  check_stage(options.dense, prefix + "steps", prefix + "rate", 1);
  check_stage(options.sparse, prefix + "sparse-steps", prefix + "sparse-rate", 0);
  const StageSettings& stage = options.dense;
  const auto require = [&](bool holds, auto value, const char* option, const char* remedy) {
    require_setting(holds, fmt::format("{}", value), prefix + option, remedy);
  };
  require(stage.warmup >= 0, stage.warmup, "warmup", "a number of steps such as 20, or 0 for none");
  require(stage.batch >= 1 && stage.batch <= 4096, stage.batch, "batch",
          "a number of sequences such as 8");
  require(stage.query_interval >= 1, stage.query_interval, "query-interval",
          "1 for all queries, 4 for a quarter of them");
  require(stage.clip >= 0 && stage.clip <= 1e6f, stage.clip, "clip",
          "the highest norm of a gradient, such as 1, or 0 for none");
  require(stage.validate_every >= 1, stage.validate_every, "validate-every",
          "a number of steps such as 25");
  require(stage.patience >= 0, stage.patience, "patience",
          "a number of validations such as 4, or 0 to train to the end");
  require(options.validation > 0 && options.validation < 1, options.validation, "validation",
          "a share such as 0.1");
  require(options.save_seconds >= 0, options.save_seconds, "save-every", "a time such as 60s");
  parse_duration(options.budget);
}

void require_other_folder(const Model& model, const std::filesystem::path& output) {
  const std::filesystem::path target = std::filesystem::weakly_canonical(output);
  const auto require_outside = [&](const std::filesystem::path& path) {
    const std::filesystem::path real = std::filesystem::weakly_canonical(path);
    const auto [end, ignored] =
        std::mismatch(target.begin(), target.end(), real.begin(), real.end());
    if (end != target.end()) return;
    throw UsageError({"the model is in the output folder", "--output",
                      fmt::format("{} would be replaced", real.string()), "another --output"});
  };
  require_outside(model.checkpoint.folder());
  for (const auto& shard : model.checkpoint.shards()) require_outside(shard->path());
}

void require_writable_indexers(const Model& model, const std::vector<Student>& students,
                               LinkKind link) {
  std::vector<std::int64_t> layers;
  for (const Student& student : students) {
    layers.push_back(static_cast<std::int64_t>(student.layer));
  }
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  indexer_folder_bytes(model.config, model.checkpoint, layers, link);
}

void share_settings(DistillOptions& options) {
  const StageSettings sparse = options.sparse;
  options.sparse = options.dense;
  options.sparse.steps = sparse.steps;
  options.sparse.rate = sparse.rate;
}

std::pair<TokenSet, TokenSet> split_validation(const TokenSet& tokens, double share) {
  const auto count = static_cast<double>(tokens.sequences.size());
  try {
    return split_holdout(tokens, std::min(share, kMostValidation / count));
  } catch (const InputError&) {
    throw InputError({"the data cannot be split into training and validation data", tokens.source,
                      "it is one sequence, or all of its sequences share a document",
                      "more documents"});
  }
}

TokenSet without_sequences_of(const TokenSet& tokens, const TokenSet& others) {
  const std::set<std::vector<std::int32_t>> excluded(others.sequences.begin(),
                                                     others.sequences.end());
  std::vector<bool> kept;
  for (const auto& sequence : tokens.sequences) kept.push_back(!excluded.contains(sequence));
  return subset(tokens, kept, true);
}

std::int64_t DistillSubject::longest() const {
  return std::max(training.longest(), validation.longest());
}

DistillSubject open_distill_subject(const DistillOptions& options, const Model& model,
                                    const Pattern& pattern, const Backend& backend,
                                    Progress& progress) {
  check_settings(options);
  backend.check(model.config.shape());
  DistillSubject subject{.pattern = pattern,
                         .students = make_students(pattern, model, options.own),
                         .training = {},
                         .validation = {},
                         .judge = {}};
  note_of_weights(model, backend, progress);
  warn_of_model(model, progress, subject.warnings);
  CalibrationData data =
      load_calibration(options.calibration, options.holdout, model, options.device.model,
                       options.device.threads, progress, subject.warnings);
  check_count(data);
  std::tie(subject.training, subject.validation) =
      split_validation(data.search, options.validation);
  subject.held_out = data.holdout.has_value();
  subject.judge = subject.held_out ? std::move(*data.holdout) : subject.validation;
  if (!subject.held_out) {
    warn(progress, subject.warnings,
         "no held-out data: the sequences that decide when training stops also judge it");
  }
  const StageSettings& stage = options.dense;
  const auto sequences = static_cast<std::int64_t>(subject.training.sequences.size());
  const double epochs = static_cast<double>(stage.steps * std::min(stage.batch, sequences)) /
                        static_cast<double>(sequences);
  if (epochs > 100) {
    warn(progress, subject.warnings,
         fmt::format("each of the {} training sequences is seen {:.0f} times; more data, or fewer "
                     "--steps, would generalize better",
                     subject.training.sequences.size(), epochs));
  }
  return subject;
}

std::string schedule_name(Schedule schedule) {
  return schedule == Schedule::cosine ? "cosine" : "constant";
}

Fingerprint training_fields(const DistillOptions& options, const DistillSubject& subject) {
  Fingerprint fields = {{"training tokens sha256", subject.training.fingerprint()},
                        {"validation tokens sha256", subject.validation.fingerprint()}};
  const auto add = [&](const std::string& name, const StageSettings& stage) {
    fields.emplace_back(name + " steps", fmt::format("{}", stage.steps));
    if (stage.steps > 0) fields.emplace_back(name + " rate", fmt::format("{}", stage.rate));
  };
  add("dense", options.dense);
  add("sparse", options.sparse);
  const StageSettings& stage = options.dense;
  fields.emplace_back("schedule", schedule_name(stage.schedule));
  fields.emplace_back("warm-up", fmt::format("{}", stage.warmup));
  fields.emplace_back("clip", fmt::format("{}", stage.clip));
  fields.emplace_back("batch", fmt::format("{}", stage.batch));
  fields.emplace_back("query interval", fmt::format("{}", stage.query_interval));
  fields.emplace_back("validation every", fmt::format("{}", stage.validate_every));
  fields.emplace_back("patience", fmt::format("{}", stage.patience));
  return fields;
}

Fingerprint fingerprint_of(const DistillOptions& options, const Model& model,
                           const DistillSubject& subject, const std::string& device) {
  Fingerprint fingerprint = {{"numerics version", fmt::format("{}", kNumericsVersion)},
                             {"device", device},
                             {"model config sha256", model.config_sha256},
                             {"model weights layout sha256", model.checkpoint.layout_sha256()},
                             {"mla-norm-eps", fmt::format("{}", model.config.mla_norm_eps)},
                             {"judging tokens sha256", subject.judge.fingerprint()},
                             {"pattern", subject.pattern.text()},
                             {"students", fmt::format("{}", subject.students.size())},
                             {"teacher", options.own ? "own" : "segment"}};
  const Fingerprint fields = training_fields(options, subject);
  fingerprint.insert(fingerprint.end(), fields.begin(), fields.end());
  return fingerprint;
}

}  // namespace indexcache
