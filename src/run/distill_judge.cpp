// SPDX-License-Identifier: Apache-2.0
#include "run/distill_judge.h"

#include "search/baselines.h"

#include <utility>

namespace indexcache {

std::vector<StoredIndexer> stored_indexers(const Model& model, const std::vector<Student>& students,
                                           const std::vector<float>& parameters) {
  const auto columns = static_cast<std::size_t>(indexer_parameters(model.config));
  std::vector<StoredIndexer> stored;
  for (std::size_t i = 0; i < students.size(); ++i) {
    const float* row = parameters.data() + i * columns;
    stored.push_back(quantize_indexer(model.config, model.checkpoint,
                                      indexer_of(model.config, students[i].layer, row)));
  }
  return stored;
}

DistillJudge::DistillJudge(const Model& model, Session& session, const DistillSubject& subject,
                           std::int64_t taken_bytes)
    : model_(model), session_(session), subject_(subject), taken_bytes_(taken_bytes) {}

void DistillJudge::judge(const std::string& indexers,
                         const std::vector<std::pair<std::string, Pattern>>& patterns,
                         std::span<const TrainedIndexer> trained, Distillation& result) {
  SpreadEvaluator evaluator = session_.evaluator(subject_.judge, trained, taken_bytes_);
  std::vector<Pattern> swept;
  for (const auto& [name, pattern] : patterns) swept.push_back(pattern);
  const std::vector<SequenceLosses> losses = evaluator.losses(swept);
  for (std::size_t p = 0; p < patterns.size(); ++p) {
    if (result.baseline_losses.empty()) {
      result.baseline_losses = losses[p];
      result.baseline_loss = evaluator.mean(losses[p]);
      continue;
    }
    result.judged.push_back({patterns[p].first, indexers,
                             Measured{.pattern = patterns[p].second,
                                      .loss = evaluator.mean(losses[p]),
                                      .losses = losses[p],
                                      .delta = paired_difference(losses[p], result.baseline_losses,
                                                                 evaluator.weights())}});
  }
}

double DistillJudge::validation_loss(std::span<const TrainedIndexer> trained) {
  SpreadEvaluator evaluator = session_.evaluator(subject_.validation, trained, taken_bytes_);
  return evaluator.mean(evaluator.losses_of(subject_.pattern));
}

void DistillJudge::judge_checkpoint(Distillation& result) {
  const Pattern baseline = model_.baseline();
  std::vector<std::pair<std::string, Pattern>> patterns = {{"all-Full", baseline},
                                                           {"pattern", subject_.pattern}};
  const Pattern uniform = uniform_of_size(baseline, subject_.pattern.full_count());
  if (uniform != subject_.pattern) patterns.emplace_back("uniform", uniform);
  judge("checkpoint", patterns, {}, result);
  result.validation_loss_before = validation_loss({});
}

double DistillJudge::judge_stage(const std::string& stage, const std::vector<float>& parameters,
                                 Distillation& result) {
  std::vector<TrainedIndexer> trained;
  for (StoredIndexer& stored : stored_indexers(model_, subject_.students, parameters)) {
    trained.push_back(std::move(stored.dequantized));
  }
  judge(stage, {{"pattern", subject_.pattern}, {"all-Full", model_.baseline()}}, trained, result);
  return validation_loss(trained);
}

PairedDifference change_of(const Distillation& result, const std::string& stage,
                           const std::vector<double>& weights) {
  return paired_difference(result.find("pattern", stage)->measured.losses,
                           result.find("pattern", "checkpoint")->measured.losses, weights);
}

bool is_gain(const PairedDifference& change) {
  return change.ci95 ? change.ci95->second < 0 : change.mean < 0;
}

}  // namespace indexcache
