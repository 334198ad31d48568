// SPDX-License-Identifier: Apache-2.0
#include "run/provenance.h"

#include "version.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

namespace indexcache {
namespace {

std::string joined(const std::vector<bool>& layers) {
  return fmt::format("{}", fmt::join(true_positions(layers), ","));
}

// With bounded runs the target decides which layers a step may share, so another target is another
// search.
std::string run_bound(const SearchSubject& subject) {
  const std::size_t most = subject.space.constraints.max_run;
  if (most == 0) return "none";
  if (subject.max_rise) return fmt::format("{} towards max-rise {}", most, *subject.max_rise);
  return fmt::format("{} towards {} F layers", most, subject.requests.back().full);
}

}  // namespace

Fingerprint fingerprint_of(const Model& model, const SearchSubject& subject,
                           const std::string& device) {
  const CalibrationData& data = subject.data;
  const Constraints& constraints = subject.space.constraints;
  Fingerprint fingerprint = {
      {"numerics version", fmt::format("{}", kNumericsVersion)},
      {"device", device},
      {"model config sha256", model.config_sha256},
      {"model weights layout sha256", model.checkpoint.layout_sha256()},
      {"mla-norm-eps", fmt::format("{}", model.config.mla_norm_eps)},
      {"calibration tokens sha256", data.search.fingerprint()},
      {"holdout tokens sha256", data.holdout ? data.holdout->fingerprint() : "none"},
      {"baseline pattern", subject.space.start.text()},
      {"pin-full", joined(constraints.pinned_full)},
      {"pin-shared", joined(constraints.pinned_shared)},
      {"max-run", run_bound(subject)}};
  // Results of older versions do not have these fields.
  if (model.config.indexer) {
    fingerprint.emplace_back("indexer", indexer_text(model.config.indexer));
  }
  if (subject.objective != Objective::loss) {
    fingerprint.emplace_back("objective", name_of(subject.objective));
  }
  if (subject.training) {
    const auto fields = training_fields(subject.training->options, subject.training->subject);
    for (const auto& [field, value] : fields) fingerprint.emplace_back("distill " + field, value);
    const DistillOptions& finishing = subject.training->finishing;
    fingerprint.emplace_back("distill finish steps", fmt::format("{}", finishing.dense.steps));
    fingerprint.emplace_back("distill finish sparse steps",
                             fmt::format("{}", finishing.sparse.steps));
  }
  return fingerprint;
}

ModelSummary summarize(const Model& model) {
  const ModelConfig& config = model.config;
  return {.name = model.name,
          .architecture = config.family->architecture,
          .layers = config.letters(),
          .mtp_layers = config.mtp_layers,
          .index_topk = config.index_topk,
          .index_heads = config.index_heads,
          .index_head_dim = config.index_head_dim,
          .has_indexer = model.has_indexer,
          .native_schedule = Pattern::from_full_layers(config.native_full).text(),
          .quantization =
              model.has_fp8 ? fmt::format("fp8 {}x{}", config.fp8_block_rows, config.fp8_block_cols)
                            : "none",
          .mla_norm_eps = std::stod(fmt::format("{}", config.mla_norm_eps)),
          .indexer = config.indexer,
          .config_sha256 = model.config_sha256,
          .weights_layout_sha256 = model.checkpoint.layout_sha256(),
          .tokenizer_sha256 = model.tokenizer_sha256,
          .numbers = config.layer_numbers()};
}

TokenSummary summarize(const TokenSet& tokens) {
  return {.source = std::filesystem::path(tokens.source).filename().string(),
          .sha256 = tokens.fingerprint(),
          .sequences = tokens.sequences.size(),
          .tokens = tokens.tokens(),
          .longest = tokens.longest()};
}

void add_devices(Provenance& provenance, const SpreadUse& use) {
  if (use.workers.size() == 1) return;
  for (const WorkerUse& worker : use.workers) {
    provenance.devices.push_back({worker.name, static_cast<std::int64_t>(worker.tasks),
                                  worker.busy_seconds, static_cast<std::int64_t>(worker.students)});
  }
  provenance.idle_share = use.idle_share();
}

}  // namespace indexcache
