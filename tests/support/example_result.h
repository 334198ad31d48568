// SPDX-License-Identifier: Apache-2.0
// A result of six layers with every optional part: two searches, of which one is not nested, two
// targets, held-out sequences, prepared documents.
#pragma once

#include "result/result.h"

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace indexcache::test {

inline ModelSummary example_model(std::size_t layers = 6) {
  return {.name = "m",
          .architecture = "DeepseekV32ForCausalLM",
          .layers = layers,
          .mtp_layers = 1,
          .index_topk = 16,
          .index_heads = 8,
          .index_head_dim = 32,
          .has_indexer = std::vector<bool>(layers, true),
          .native_schedule = std::string(layers, 'F'),
          .quantization = "none",
          .mla_norm_eps = 1e-6,
          .config_sha256 = std::string(64, 'c'),
          .weights_layout_sha256 = std::string(64, 'd'),
          .tokenizer_sha256 = std::string(64, 'e')};
}

inline DocumentAccount example_account() {
  DocumentAccount account;
  SourceAccount source{.input = "texts.jsonl"};
  source.files = 1;
  source.read = 20;
  source.used = 12;
  source.too_short = 5;
  source.unused = 3;
  source.truncated = 2;
  source.tokens_read = 4000;
  source.tokens_used = 2400;
  account.sources = {source, source};
  account.sources[1].input = "chats.jsonl";
  account.forms = {{"text", 20}, {"messages", 20}};
  account.wanted[0] = 4;
  account.built[0] = 4;
  account.built[1] = 8;
  account.chat_format = "glm-5";
  account.start = "[gMASK]<sop>";
  return account;
}

// Losses around 2 nats; the sequence `worst` is `most` above the baseline, the others the same
// amount less, so that the mean is `mean`.
inline Measured example_measure(const std::string& pattern, double mean, std::size_t sequences,
                                std::size_t worst, double most) {
  const auto others = static_cast<double>(sequences - 1);
  std::vector<double> deltas(sequences, (mean * static_cast<double>(sequences) - most) / others);
  deltas[worst] = most;
  Measured measured{
      .pattern = Pattern::parse(pattern),
      .loss = 2.0 + mean,
      .losses = {},
      .delta = {mean, std::pair(mean - 0.01, mean + 0.01), deltas, largest_difference(deltas)}};
  for (const double delta : deltas) measured.losses.push_back(2.0 + delta);
  return measured;
}

inline Fidelity example_fidelity() {
  return {.tokens = 1280,
          .same_top1 = 0.975,
          .kl_mean = 0.0125,
          .kl_p99 = 0.25,
          .positions = {{16, 32, 128, 2.5, 2.625}, {32, 64, 1152, 2.0, 2.03125}}};
}

inline Considered example_candidate(const char* pattern, double loss) {
  return {Pattern::parse(pattern), loss, SequenceLosses(4, loss)};
}

inline SearchPath example_search(
    const char* method, const char* start,
    std::initializer_list<std::vector<std::pair<const char*, double>>> steps) {
  SearchPath search{.method = method, .start = Pattern::parse(start), .steps = {}};
  for (const auto& step : steps) {
    search.steps.push_back({Pattern::parse(step[0].first), step[0].second, {}});
    for (const auto& [pattern, loss] : step) {
      search.steps.back().considered.push_back(example_candidate(pattern, loss));
    }
  }
  return search;
}

inline Result example_result() {
  const TokenSummary calibration{.source = "calibration.h5",
                                 .sha256 = std::string(64, 'a'),
                                 .sequences = 4,
                                 .tokens = 800,
                                 .longest = 200,
                                 .prepared = example_account()};
  TokenSummary held_out = calibration;
  held_out.sha256 = std::string(64, 'b');
  held_out.sequences = 8;
  held_out.prepared.reset();
  Constraints constraints = Constraints::none(6);
  constraints.pinned_full[3] = true;
  constraints.pinned_shared[4] = true;
  constraints.max_run = 3;
  Result result{
      .provenance = {.tool_version = "0.1.0",
                     .numerics_version = 2,
                     .device = "cpu",
                     .created_at = "2023-11-14T22:13:20Z",
                     .search_seconds = 12.5,
                     .planned_bytes = 1000000,
                     .peak_bytes = 900000},
      .model = example_model(),
      .calibration = calibration,
      .holdout = Holdout{held_out, 2.0, SequenceLosses(8, 2.0)},
      .constraints = constraints,
      .fingerprint = {{"numerics version", "2"},
                      {"device", "cpu"},
                      {"model config sha256", std::string(64, 'c')}},
      .baseline = Pattern::parse("FFFFFF"),
      .baseline_loss = 2.0,
      .baseline_losses = SequenceLosses(4, 2.0),
      .search_start = 2.0,
      .searches = {example_search("greedy", "FFFFFF",
                                  {{{"FFFFSF", 2.001}},
                                   {{"FFFFSS", 2.005}, {"FSFFSF", 2.007}, {"FFSFSF", 2.006}},
                                   {{"FFSFSS", 2.02}, {"FSFFSS", 2.03}}}),
                   example_search("swap", "FFSFSS",
                                  {{{"FSFFSS", 2.015}, {"FFSFSS", 2.02}, {"FSSFSF", 2.04}}})},
      .settings = {.requests = {"2/3", "1/2", "max-rise 0.02"},
                   .strategies = {"greedy"},
                   .refinement = "swap",
                   .race_confidence = 0.95,
                   .race_all = true,
                   .stability = true,
                   .objective = Objective::loss},
      .targets = {},
      .overlap = {.adjacent = {0.5, 0.6, 0.7, 0.9, 0.8}, .blocks = {{3, 5}}, .query_step = 2},
      .warnings = {"half of the held-out sequences are short"},
      .indexer_share = IndexerShare{200, 0.25}};
  result.targets.push_back({"2/3",
                            "greedy",
                            example_measure("FFFFSS", 0.005, 4, 0, 0.01),
                            example_measure("FFFFSS", 0.01, 8, 5, 0.05),
                            example_measure("FFSFFS", 0.04, 8, 5, 0.2),
                            {{4, 3, 0.9}, {5, 3, 0.7}}});
  result.targets.push_back({"1/2",
                            "swap",
                            example_measure("FSFFSS", 0.015, 4, 1, 0.02),
                            example_measure("FSFFSS", 0.02, 8, 5, 0.11),
                            example_measure("FSFSFS", 0.08, 8, 5, 0.3),
                            {{1, 0, 0.5}, {4, 3, 0.9}, {5, 3, 0.7}}});
  Target& half = result.targets.back();
  half.holdout->fidelity = example_fidelity();
  half.strategies = {{"greedy", Pattern::parse("FFSFSS"), 0.005, std::pair(0.001, 0.009)}};
  half.ties = {{"swap", Pattern::parse("FSSFSF"), 0.025, std::pair(-0.01, 0.06)}};
  half.halves = {{Pattern::parse("FSFFSS"), 0}, {Pattern::parse("FFSFSS"), 0.0025}};
  half.compared = {{"overlap", example_measure("FFSFSS", 0.03, 8, 2, 0.1)}};
  half.random_holdout = RandomPatterns{8, 0.25, 0.125, 0.5};
  half.distilled = DistilledTarget{"distilled-3F/model",
                                   result.calibration,
                                   150,
                                   true,
                                   PairedDifference{0.5, std::pair(0.25, 0.75), {}},
                                   PairedDifference{0.125, std::nullopt, {}}};
  // A pattern that left a race.
  Considered& raced = result.searches[1].steps[0].considered[2];
  raced.losses.resize(3);
  raced.sequences = {0, 2, 3};
  result.searches[1].neighborhood = Neighborhood{5, {example_candidate("FSSFFS", 2.03)}};
  return result;
}

// The overlap that `example_result` tells of.
inline Overlap example_overlap() {
  Overlap overlap{.layers = 6,
                  .index_topk = 16,
                  .bucket_ends = {32, 64},
                  .queries = {10, 20},
                  .counts = {},
                  .query_step = 2};
  for (const std::int64_t queries : overlap.queries) {
    for (int i = 0; i < 6; ++i) {
      for (int j = 0; j < 6; ++j) {
        overlap.counts.push_back(queries * 16 * (10 - std::abs(i - j)) / 10);
      }
    }
  }
  return overlap;
}

}  // namespace indexcache::test
