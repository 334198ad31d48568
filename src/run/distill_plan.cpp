// SPDX-License-Identifier: Apache-2.0
#include "run/distill_plan.h"

#include "core/bytes.h"
#include "core/count_text.h"
#include "core/error.h"
#include "core/thread_count.h"
#include "run/training_fit.h"
#include "search/costs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace indexcache {
namespace {

// Products of the indexer that one (query, key) pair takes: scores, and twice the products and
// their gradients, for queries and for keys.
constexpr double kIndexerProducts = 5;

// Seconds of a token in the frozen model with dense attention, and for the students of a device.
struct TokenSeconds {
  double model = 0, students = 0, uncertainty = 0;
};

TokenSeconds token_seconds(const Model& model, const DistillSubject& subject,
                           const std::vector<Student>& students, const Device& backend,
                           Placement placement, int threads) {
  // Dense attention is what rows before the first position that selects do.
  ModelConfig dense = model.config;
  dense.index_topk = subject.longest();
  const Costs costs = estimated_costs(dense, subject.training, backend, placement, threads);
  TokenSeconds seconds;
  seconds.uncertainty = costs.uncertainty;
  const auto prefix = static_cast<std::size_t>(Visit::prefix);
  for (const bool moe : dense.moe_layer) seconds.model += costs.visit[moe ? 1 : 0][prefix];
  const auto d = [](std::int64_t value) { return static_cast<double>(value); };
  // Rates of attention and of the indexer, from what a layer's dense rows take.
  const double pairs = d(subject.longest()) / 2;
  const double attention = d(dense.heads) * d(2 * dense.kv_lora_rank + dense.qk_rope_head_dim);
  const double layer = seconds.model / d(dense.layers);
  const std::vector<bool> taught = taught_layers(students, dense.layers);
  const double teacher = d(dense.heads) * d(dense.latent_width()) / attention * layer;
  const double indexer = kIndexerProducts * 2 * d(dense.index_heads * dense.index_head_dim) * pairs;
  const double rate = 2 * attention * pairs / std::max(layer, 1e-30);
  seconds.students = d(std::ranges::count(taught, true)) * teacher +
                     static_cast<double>(students.size()) * indexer / rate;
  return seconds;
}

// Steps in whose batches sequences come that no step before had.
double fresh_share(const DistillOptions& options, const DistillSubject& subject, bool keeps) {
  if (!keeps) return 1;
  const auto sequences = static_cast<double>(subject.training.sequences.size());
  const double seen = static_cast<double>(options.dense.steps * options.dense.batch);
  return std::min(1.0, sequences / std::max(seen, 1.0));
}

double tokens_of(const StageSettings& stage, const DistillSubject& subject, double validations) {
  const auto mean = static_cast<double>(subject.training.tokens()) /
                    static_cast<double>(subject.training.sequences.size());
  const auto batch = static_cast<double>(std::min<std::int64_t>(
      stage.batch, static_cast<std::int64_t>(subject.training.sequences.size())));
  return static_cast<double>(stage.steps) * batch * mean +
         validations * static_cast<double>(subject.validation.tokens());
}

double validations_of(const StageSettings& stage) {
  const std::int64_t validations = stage.steps / stage.validate_every + 1;
  return static_cast<double>(validations);
}

}  // namespace

TrainingPlan plan_training(const DistillOptions& options, const Model& model,
                           const DistillSubject& subject, const Device& backend,
                           Placement placement, std::size_t devices) {
  const ModelConfig& config = model.config;
  const WeightSizes sizes =
      weight_sizes(config, model.checkpoint, model.has_indexer, backend.weight_types());
  const bool sparse = options.sparse.steps > 0;
  TrainingPlan plan;
  plan.students = subject.students.size();
  plan.parameters = indexer_parameters(config);
  plan.steps = options.dense.steps + options.sparse.steps;
  plan.device_limit = backend.memory_bytes();
  plan.paged = !backend.is_gpu();
  const std::int64_t fixed = sizes.device(placement) + backend.uploader_bytes();
  // As Session::training_memory: the CPU's memory is divided, and devices share what is free.
  const std::int64_t memory =
      plan.paged ? static_cast<std::int64_t>(devices) * plan.device_limit : plan.device_limit;
  const TrainingFit fit = TrainingSizes(config, backend, subject, sparse, memory - fixed)
                              .fit(options.dense.batch, devices);
  plan.devices = fit.parts.size();
  for (const auto& part : fit.parts) plan.most_students = std::max(plan.most_students, part.size());
  plan.student_bytes = StudentSet::bytes(config, backend, plan.most_students);
  plan.wave = fit.wave;
  plan.keeps_features = fit.keeps;
  plan.device_bytes = fixed + fit.bytes;
  const double dense = tokens_of(options.dense, subject, validations_of(options.dense));
  const double second =
      sparse ? tokens_of(options.sparse, subject, validations_of(options.sparse)) : 0;
  plan.tokens = dense + second;
  // Devices wait for the one that takes longest; each runs the frozen model itself.
  const int threads = std::max(thread_count(options.device.threads) / static_cast<int>(devices), 1);
  TokenSeconds seconds;
  for (const auto& part : fit.parts) {
    const TokenSeconds own = token_seconds(model, subject, part, backend, placement, threads);
    if (own.model + own.students >= seconds.model + seconds.students) seconds = own;
  }
  const double fresh = fresh_share(options, subject, fit.keeps);
  const double queries = 1 / static_cast<double>(options.dense.query_interval);
  plan.seconds =
      seconds.model * (fresh * dense + second) + seconds.students * queries * plan.tokens;
  plan.uncertainty = seconds.uncertainty;
  if (placement != Placement::resident) {
    const double passes =
        (fresh * dense + second) /
        static_cast<double>(plan.wave * std::max<std::int64_t>(1, subject.longest()));
    plan.streamed_bytes = passes * static_cast<double>(sizes.stored);
  }
  std::vector<std::int64_t> layers;
  for (const Student& student : students_of(subject.pattern)) {
    layers.push_back(static_cast<std::int64_t>(student.layer));
  }
  if (!layers.empty()) {
    plan.folder = indexer_folder_bytes(config, model.checkpoint, layers, options.link);
  }
  return plan;
}

void require_fit(const TrainingPlan& plan) {
  if (plan.fits()) return;
  throw ResourceError(
      {"the training does not fit the device's memory", "",
       fmt::format("{} indexers and one sequence at a time need {}, but only {} may "
                   "be used",
                   plan.most_students, bytes_text(plan.device_bytes),
                   bytes_text(plan.device_limit)),
       "more GPUs, shorter sequences, --precision bf16, --weights stream, and for a search "
       "over segments a smaller --max-run"});
}

std::vector<std::string> plan_lines(const TrainingPlan& plan) {
  const double factor = 1 + plan.uncertainty;
  std::vector<std::string> lines = {
      fmt::format(
          "training: {} indexer{} of {} parameters{}, at most {} steps, {} tokens through the "
          "model, about {} ({} to {})",
          plan.students, plan.students == 1 ? "" : "s", count_text(plan.parameters),
          plan.devices == 1
              ? ""
              : fmt::format(" on {} devices, at most {} on each", plan.devices, plan.most_students),
          count_text(plan.steps), count_text(std::llround(plan.tokens)),
          format_duration(plan.seconds), format_duration(plan.seconds / factor),
          format_duration(plan.seconds * factor)),
      fmt::format("training memory: {} of {} on {} device, {} of them for indexers; {} sequence{} "
                  "at a time",
                  bytes_text(plan.device_bytes), bytes_text(plan.device_limit),
                  plan.devices == 1 ? "the" : "each", bytes_text(plan.student_bytes), plan.wave,
                  plan.wave == 1 ? "" : "s")};
  if (plan.streamed_bytes > 0) {
    lines.push_back(
        fmt::format("weights to move: {}", bytes_text(std::llround(plan.streamed_bytes))));
  }
  if (plan.folder.total() > 0) {
    lines.push_back(fmt::format("checkpoint to write: {}", bytes_text(plan.folder.total())));
  }
  return lines;
}

Json to_json(const TrainingPlan& plan) {
  return Json{{"students", plan.students},
              {"devices", plan.devices},
              {"students_per_device", plan.most_students},
              {"parameters_per_student", plan.parameters},
              {"student_bytes", plan.student_bytes},
              {"steps", plan.steps},
              {"tokens", std::llround(plan.tokens)},
              {"sequences_at_once", plan.wave},
              {"keeps_features", plan.keeps_features},
              {"device_bytes", plan.device_bytes},
              {"device_limit", plan.device_limit},
              {"fits", plan.fits()},
              {"streamed_bytes", std::llround(plan.streamed_bytes)},
              {"checkpoint_bytes", plan.folder.total()},
              {"seconds", plan.seconds},
              {"uncertainty", plan.uncertainty}};
}

}  // namespace indexcache
