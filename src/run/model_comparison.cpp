// SPDX-License-Identifier: Apache-2.0
#include "run/model_comparison.h"

#include "core/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <string>

namespace indexcache {
namespace {

// Opens one of the models on its device, and calls body(evaluator, backend).
template <typename Body>
void with_evaluator(const ComparedModel& compared, const TokenSet& tokens, Progress& progress,
                    const std::string& label, const Body& body) {
  std::unique_ptr<Backend> backend = make_backend(compared.options);
  note_of_device(*backend, progress);
  note_of_weights(compared.model, *backend, progress);
  Session session(compared.model, std::move(backend), compared.options);
  SweepEvaluator evaluator(compared.model.config, session.weights(0), session.backend(), tokens,
                           sweep_memory(session.backend(), session.weight_bytes()));
  evaluator.set_progress(
      [&](std::size_t done, std::size_t total) { progress.update(label, done, total); });
  body(evaluator, session.backend());
}

}  // namespace

void require_comparable(const Model& first, const Model& second, const std::string& where) {
  const auto fail = [&](const std::string& why) {
    throw InputError({"the two models cannot be compared", where, why,
                      "a checkpoint of the same shape, such as one before or after fine-tuning"});
  };
  const auto require_same = [&](const char* key, std::int64_t a, std::int64_t b) {
    if (a != b) fail(fmt::format("{} is {} here and {} in {}", key, b, a, first.name));
  };
  const ModelConfig &a = first.config, &b = second.config;
  require_same("vocab_size", a.vocabulary, b.vocabulary);
  require_same("num_hidden_layers", a.layers, b.layers);
  require_same("index_topk", a.index_topk, b.index_topk);
  if (first.has_indexer == second.has_indexer) return;
  fail(fmt::format("layers {} own an indexer here, and layers {} in {}",
                   fmt::join(second.baseline().full_layers(), " "),
                   fmt::join(first.baseline().full_layers(), " "), first.name));
}

ModelComparison compare_models(const ComparedModel& first, const ComparedModel& second,
                               const TokenSet& tokens, std::int64_t host_bytes,
                               Progress& progress) {
  const Pattern pattern = first.model.baseline();
  // Refuses sequences that are too short before anything is computed.
  prepare_set_overlap(first.model.config, tokens, pattern,
                      first.model.config.first_selecting_position());
  const std::int64_t step = stored_query_step(first.model.config, tokens, pattern, host_bytes);
  ModelComparison comparison{};
  StoredSets stored;
  SequenceLosses losses;
  with_evaluator(first, tokens, progress, "selecting with the first model",
                 [&](SweepEvaluator& evaluator, Backend& backend) {
                   stored = keep_sets(evaluator, backend, pattern, step, losses);
                   comparison.first_loss = evaluator.mean(losses);
                 });
  with_evaluator(second, tokens, progress, "comparing with the second model",
                 [&](SweepEvaluator& evaluator, Backend& backend) {
                   comparison.overlap = compare_sets(evaluator, backend, pattern, stored, losses);
                   comparison.second_loss = evaluator.mean(losses);
                 });
  return comparison;
}

}  // namespace indexcache
